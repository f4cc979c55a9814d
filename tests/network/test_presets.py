"""The shipped networks, and what is said of a configuration that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from renderocc_ros.config import load_class_set
from renderocc_ros.network.image_backbone import build_backbone, known_backbones
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import (
    BackboneConfig,
    LiftedConfig,
    NetworkConfig,
    load_network_config,
)

Configs = Callable[..., NetworkConfig]
SHIPPED = sorted(
    path.stem for path in (Path(__file__).parents[2] / "config" / "networks").glob("*.yaml")
)


def test_the_presets_are_there() -> None:
    assert SHIPPED == ["nano", "nano-resnet", "r50", "r50-fast", "swinb-stereo"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_network_reads_and_covers_occ3d(name: str) -> None:
    config = load_network_config(name)
    assert config.name == name
    # Layers of 0.8 m hold the ground in the middle of one; Occ3D's are 0.4 m from -1.0.
    top_m = 5.2 if name.startswith("nano") else 5.4
    assert config.grid.build().upper_m == pytest.approx((40.0, 40.0, top_m))
    assert len(load_class_set(config.class_set)) == 17


@pytest.mark.parametrize(
    ("name", "millions"),
    [("nano", 4.39), ("nano-resnet", 2.94), ("r50", 28.9), ("r50-fast", 38.2)],
)
def test_size_of_the_networks(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = build_network(load_network_config(name), 17)
    count = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.05)


def test_r50_is_the_published_backbone() -> None:
    """ResNet-50 without its classifier has 23,508,032 weights (He et al. 2016, table 1)."""
    parts = load_network_config("r50").architecture
    assert isinstance(parts, LiftedConfig)
    with torch.device("meta"):
        backbone = build_backbone(parts.backbone, pretrained=False)
    assert sum(weight.numel() for weight in backbone.parameters()) == 23_508_032


@pytest.mark.parametrize(
    ("model_type", "settings", "out_features"),
    [
        ("swin", {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}, ("stage1", "stage2")),
        ("convnext", {"hidden_sizes": [4, 8, 8, 8], "depths": [1, 1, 1, 1]}, ("stage2", "stage3")),
        (
            "dinov2",
            {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8},
            ("stage1", "stage2"),
        ),
    ],
)
def test_other_backbones(
    model_type: str,
    settings: dict[str, Any],
    out_features: tuple[str, ...],
    tiny: Configs,
    ring: Callable[..., Any],
) -> None:
    backbone = {"model_type": model_type, "out_features": out_features}
    config = tiny(architecture={"backbone": backbone | {"settings": settings}})
    network = build_network(config, 4, seed=0).eval()
    with torch.no_grad():
        one, other = network(ring(3, seed=0)), network(ring(3, seed=1))
    assert one.density.shape == (1, 20, 20, 4)
    assert (one.semantics != other.semantics).any()


def test_unknown_backbone_is_refused_by_name(tiny: Configs) -> None:
    config = tiny(architecture={"backbone": {"model_type": "resnot"}})
    with pytest.raises(ValueError, match=r"'resnot' is no backbone of transformers; .*resnet"):
        build_network(config, 3)
    assert "timm_backbone" not in known_backbones(), "it would fetch code and weights"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_sizes": [1]}, r"backbone\.settings\.hiden_sizes'; did you mean 'hidden_sizes'"),
        ({"depths": "many"}, r"backbone.settings of 'resnet': .*depths"),
        ({"layer_type": "soft"}, r"backbone.settings of 'resnet': "),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    config = BackboneConfig(settings=settings, out_features=("stage2",))
    with pytest.raises(ValueError, match=message):
        build_backbone(config, pretrained=False)


def test_settings_cannot_hold_a_model_of_their_own() -> None:
    nested = {"vision_config": {"attn_implementation": "someone/kernels"}}
    config = BackboneConfig(model_type="tipsv2", settings=nested, out_features=("stage1",))
    with pytest.raises(ValueError, match=r"backbone\.settings\.vision_config must be a number"):
        build_backbone(config, pretrained=False)


def test_unknown_feature_map() -> None:
    with pytest.raises(ValueError, match=r"backbone.settings of 'resnet': .*stage9"):
        build_backbone(BackboneConfig(out_features=("stage9",)), pretrained=False)


def test_pretrained_weights_that_cannot_be_reached_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "renderocc-tests/no-such-model"
    config = BackboneConfig(out_features=("stage2",), pretrained=name)
    with pytest.raises(ValueError, match=f"run `hf download {name} config.json model.safetensors"):
        build_backbone(config, pretrained=True)
    assert build_backbone(config, pretrained=False) is not None


def test_pretrained_weights_from_a_folder(tmp_path: Path) -> None:
    settings = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]}
    config = BackboneConfig(settings=settings, out_features=("stage2", "stage3"))
    saved: Any = build_backbone(config, pretrained=False)
    saved.save_pretrained(tmp_path / "resnet")
    here = BackboneConfig(out_features=("stage2", "stage4"), pretrained=str(tmp_path / "resnet"))
    loaded: Any = build_backbone(here, pretrained=True)
    for name, weight in saved.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight)
    wrong = here.model_copy(update={"model_type": "convnext"})
    with pytest.raises(ValueError, match=r"holds a 'resnet', backbone.model_type says 'convnext'"):
        build_backbone(wrong, pretrained=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"width": 70}}, "image 70x32 is not a multiple of neck.stride = 8"),
        ({"threshold": 1.0}, "threshold = 1.0 is an opacity and must be below 1"),
        ({"grid": {"size": [4096, 4096, 4096]}}, r"more than \d+ cells"),
        ({"architecture": {"depth": {"to_m": 1.5}}}, "leave no depth bin"),
        (
            {"architecture": {"lifting": "bev", "encoder": {"kind": "3d"}}},
            "encoder.kind = '3d' needs lifting = 'voxels'",
        ),
        ({"architecture": {"kind": "magic"}}, "magic"),
        ({"treshold": 0.5}, "unknown key 'treshold'; did you mean 'threshold'"),
    ],
)
def test_configurations_that_cannot_be(
    changes: dict[str, Any], message: str, tiny: Configs
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_density_bound_too_low_for_the_grid(tiny: Configs) -> None:
    field = {"max_density_per_m": 0.2, "initial_opacity": 0.5}
    with pytest.raises(ValueError, match=r"max_density_per_m = 0.2 cannot .* raise it above 0.693"):
        build_network(tiny(architecture={"field": field}), 3)

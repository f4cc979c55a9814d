"""The official composition: its parts, symmetries, training and refusals."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from renderocc_ros.config import load_class_set
from renderocc_ros.network.official import StereoFrame, SwinBStereo, SwinBStereoConfig
from renderocc_ros.network.official.heads import SemanticDensityField
from renderocc_ros.network.official.layers import conv_norm
from renderocc_ros.network.official.preset import build_official, live_frame
from renderocc_ros.network.official.voxel_encoder import VoxelPyramid
from renderocc_ros.network_config import load_network_config

FrameAt = Callable[..., StereoFrame]
TENSORS = [field.name for field in fields(StereoFrame) if field.name != "valid"]


@pytest.fixture(scope="module")
def transcription() -> ModuleType:
    """The network as its formulas read, which the benchmark measures against."""
    path = Path(__file__).resolve().parents[3] / "benchmarks" / "_plain_official.py"
    spec = importlib.util.spec_from_file_location("plain_official", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_fast_network_equals_the_plain_one(
    network: SwinBStereo, frame_at: FrameAt, transcription: ModuleType
) -> None:
    plain = transcription.PlainMatchingAndPooling(network.sizes).eval()
    plain.load_state_dict(network.state_dict())
    frames = [frame_at(t) for t in (1.0, 0.5, 0.0)]
    with torch.inference_mode():
        ours = network(frames)
        with transcription.plain_layers():
            expected = plain(frames)
    torch.testing.assert_close(ours.density, expected.density, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.semantics, expected.semantics, rtol=1e-4, atol=1e-5)
    labels = ours.labels()
    assert labels.shape == (1, 20, 20, 4) and labels.dtype == torch.uint8
    assert 0.02 < (labels != 5).float().mean() < 0.98 and len(labels.unique()) > 3


@pytest.mark.parametrize("dimensions", [2, 3])
def test_folded_norm_equals_convolution_then_norm(dimensions: int) -> None:
    torch.manual_seed(dimensions)
    conv = (nn.Conv2d, nn.Conv3d)[dimensions - 2](4, 6, 3, stride=2, padding=1)
    norm = (nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 2](6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 4, *[7] * dimensions)
    norm(conv(x))  # statistics that are not 0 and 1
    twin = copy.deepcopy(norm)
    torch.testing.assert_close(conv_norm(x, conv, norm), twin(conv(x)))  # both train
    assert torch.equal(norm.running_mean, twin.running_mean)
    norm.eval()
    torch.testing.assert_close(conv_norm(x, conv, norm), norm(conv(x)), rtol=1e-4, atol=1e-5)


def test_pyramid_mixes_before_upsampling_to_the_same_effect() -> None:
    torch.manual_seed(4)
    pyramid = VoxelPyramid((4, 8), 5).eval()
    pyramid.conv.bn.running_mean.normal_()
    stages = [torch.randn(1, 4, 4, 6, 6), torch.randn(1, 8, 2, 3, 3)]
    up = nn.functional.interpolate(stages[1], scale_factor=2, mode="trilinear", align_corners=True)
    expected = pyramid.conv(torch.cat([stages[0], up], dim=1))
    torch.testing.assert_close(pyramid(stages), expected, rtol=1e-4, atol=1e-5)


def permuted(frame: StereoFrame, order: list[int]) -> StereoFrame:
    return StereoFrame(*(getattr(frame, name)[:, order] for name in TENSORS))


def test_order_of_cameras_does_not_matter(network: SwinBStereo, frame_at: FrameAt) -> None:
    """With all cameras at one stamp, since camera 0's stamp defines the ego frame."""
    frames = [frame_at(t, spread_s=0.0) for t in (1.0, 0.5)]
    with torch.inference_mode():
        expected = network(frames).density
        ours = network([permuted(frame, [2, 0, 1]) for frame in frames]).density
        wrong = network([replace(frames[0], images=frames[0].images.flip(1)), frames[1]]).density
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert (wrong - expected).abs().max() > 1e-2


def test_missing_camera_is_left_out_whatever_its_image(
    network: SwinBStereo, frame_at: FrameAt
) -> None:
    valid = torch.tensor([[True, False, True]])
    densities = []
    for noise in (0.0, 5.0):
        frames = [replace(frame_at(t), valid=valid) for t in (1.0, 0.5)]
        for frame in frames:
            frame.images[:, 1] = noise
        densities.append(network(frames).density.detach())
    assert torch.equal(densities[0], densities[1])
    present = [replace(frame, valid=None) for frame in frames]
    assert (network(present).density - densities[0]).abs().max() > 1e-3


def test_result_does_not_depend_on_where_in_the_world(
    network: SwinBStereo, frame_at: FrameAt
) -> None:
    frames = [frame_at(t) for t in (1.0, 0.5, 0.0)]
    elsewhere = torch.tensor([[0.0, -1, 0, -4e3], [1, 0, 0, 7e3], [0, 0, 1, 3], [0, 0, 0, 1]])
    moved = [
        replace(frame, global_from_ego=elsewhere.double() @ frame.global_from_ego)
        for frame in frames
    ]
    with torch.inference_mode():
        ours, expected = network(moved).density, network(frames).density
    assert (ours - expected).abs().quantile(0.99) < 1e-3  # a point may cross a voxel border


def test_batch_equals_one_by_one(network: SwinBStereo, frame_at: FrameAt) -> None:
    first, second = [frame_at(t) for t in (1.0, 0.5)], [frame_at(t) for t in (2.0, 1.5)]
    both = [
        StereoFrame(*(torch.cat([getattr(f, name) for f in pair]) for name in TENSORS))
        for pair in zip(first, second, strict=True)
    ]
    with torch.inference_mode():
        density = network(both).density
        torch.testing.assert_close(density[:1], network(first).density, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(density[1:], network(second).density, rtol=1e-4, atol=1e-4)


def test_training_reaches_every_weight_of_the_key_frame(frame_at: FrameAt) -> None:
    from renderocc_ros.network.official.swin import SwinConfig

    network = SwinBStereo(small_config(SwinConfig(16, (2, 1, 1, 1), (1, 2, 2, 2), 4, 2, 0.0)))
    both = [
        StereoFrame(*(torch.cat([getattr(f, name)] * 2) for name in TENSORS))
        for f in (frame_at(1.0), frame_at(0.5))
    ]
    field = network(both)
    (
        field.density.mean() + field.semantics.square().mean() + field.depth.square().mean()
    ).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None]
    # the matching cost carries no gradient, as in the official code
    assert without == []
    assert network.img_backbone.patch_embed.projection.weight.grad.abs().sum() > 0


def small_config(swin: object) -> SwinBStereoConfig:
    from renderocc_ros.geometry import VoxelGrid

    return SwinBStereoConfig(
        image_size=(64, 96), cameras=3, swin=swin, neck_channels=16, aspp_channels=8,
        context_channels=8, depth_range_m=(1.0, 9.0, 0.5),
        grid=VoxelGrid((-8.0, -8.0, -1.0), 0.8, (20, 20, 4)), encoder_blocks=(1, 1, 1), classes=5,
    )  # fmt: skip


def test_labels_are_the_likeliest_class_above_the_threshold() -> None:
    density = torch.tensor([8.5, 8.6, 20.0]).view(1, 3, 1, 1)
    semantics = torch.tensor([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]).view(1, 3, 1, 1, 2)
    field = SemanticDensityField(density, semantics, torch.empty(0), 8.5)
    assert field.labels().flatten().tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("images", lambda x: x[:, :2], "2 cameras, the network is made for 3"),
        ("images", lambda x: x[..., :64], "images are 64x64 .* takes 64x96; resize"),
        ("images", lambda x: (x * 0).to(torch.uint8), "images must be floating point"),
        ("images", lambda x: x.log(), "images of camera 0 holds nan"),
        ("intrinsics", lambda x: x * 0, "intrinsics of camera 0 cannot be inverted"),
        ("intrinsics", lambda x: x[:, :2], r"intrinsics must be \(1, 3, 3, 3\)"),
        ("ego_from_camera", lambda x: x / 0, "ego_from_camera of camera 0 holds"),
    ],
)
def test_input_that_does_not_fit_is_named(
    network: SwinBStereo, frame_at: FrameAt, field: str, change: Callable[[Tensor], Tensor],
    message: str,
) -> None:  # fmt: skip
    frame = frame_at(1.0)
    broken = replace(frame, **{field: change(getattr(frame, field))})
    with pytest.raises(ValueError, match=f"frame 1 .*{message}"):
        network([frame, broken])


def test_sizes_that_cannot_be_are_refused(network: SwinBStereo, frame_at: FrameAt) -> None:
    with pytest.raises(ValueError, match="image_size: .* multiples of 32"):
        SwinBStereoConfig(image_size=(250, 704))
    with pytest.raises(ValueError, match="1 to 3; got 4"):
        network([frame_at(0.0)] * 4)


def test_preset_is_the_official_network() -> None:
    config = load_network_config("swinb-stereo")
    with torch.device("meta"):
        network = build_official(config, len(load_class_set(config.class_set)))
    assert sum(p.numel() for p in network.parameters()) == 121_280_297
    assert network.sizes == SwinBStereoConfig() and network.config is config
    with pytest.raises(ValueError, match="architecture.kind = 'lifted' is not 'official'"):
        build_official(load_network_config("nano"), 17)


def test_live_frame_describes_the_camera_as_in_training() -> None:
    """The official calibration of 1600x900, scaled by 0.88 and cropped by 280 rows, comes back."""
    k = torch.tensor([[1266.0, 0, 816], [0, 1266.0, 491], [0, 0, 1]]).expand(1, 6, 3, 3)
    scaled = torch.diag(torch.tensor([0.88, 0.88, 1.0])) @ k
    scaled[..., 1, 2] -= 280
    eye = torch.eye(4).expand(1, 6, 4, 4)
    frame = live_frame(torch.zeros(1, 6, 3, 512, 1408), scaled, eye, eye)
    torch.testing.assert_close(frame.intrinsics, k)
    assert frame.post_translation[0, 0].tolist() == [0.0, -280.0, 0.0]
    torch.testing.assert_close(frame.post_rotation[0, 0].diagonal(), torch.tensor([0.88, 0.88, 1]))

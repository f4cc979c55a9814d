"""The predictor: sets in, occupancy out, and clear words for what it cannot use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from renderocc_ros.checkpoint import Model
from renderocc_ros.export import export_onnx
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network.camera_tensors import PastCameras
from renderocc_ros.network.occupancy_field import opacity
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.runner import camera_tensors
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_ros.rig.network_input import NetworkInput

Models = Callable[..., Model]
FUSION = {"temporal": {"past_frames": 1}}
MATCHED = {"depth": {"stereo": {"feature": "stage1"}}}
STEREO = {**FUSION, **MATCHED}
Sets = Callable[..., CameraSet]
STILL = RigidTransform.identity()


@pytest.fixture
def predictor(tiny_model: Models) -> Predictor:
    return Predictor.from_model(tiny_model(), device="cpu")


def test_nano_from_images_to_labels(ring_set: Sets) -> None:
    predictor = Predictor.from_preset("nano", seed=2, device="cpu")
    occupancy = predictor.predict(ring_set(7, cameras=6, size=(704, 256)))
    assert occupancy.labels.shape == (100, 100, 8)
    assert occupancy.stamp_ns == 7
    assert occupancy.class_set.name == "occ3d"
    assert 0.05 < occupancy.occupied.mean() < 0.95, "untrained, but alive"
    assert occupancy.in_view is not None
    assert 0.3 < occupancy.in_view.mean() < 1
    stages = ["preprocess", "lifting_table", "image_backbone", "depth_head", "view_lifting"]
    stages += ["temporal_fusion", "voxel_encoder", "occupancy_field", "in_view", "memory"]
    assert list(predictor.timings_ms) == [*stages, "read_out"]
    assert sum(p.numel() for p in predictor_parameters(predictor)) < 5_000_000
    again = Predictor.from_preset("nano", seed=2, device="cpu")
    same = again.predict(ring_set(7, cameras=6, size=(704, 256)))
    assert (same.labels == occupancy.labels).all()


def predictor_parameters(predictor: Predictor) -> list[torch.nn.Parameter]:
    return list(predictor._runner._engine.network.parameters())  # type: ignore[attr-defined]


def test_labels_and_confidence_follow_the_field(predictor: Predictor, ring_set: Sets) -> None:
    occupancy = predictor.predict(ring_set())
    assert predictor.field is not None
    probability = opacity(predictor.field.density[0], 1.0).numpy()
    assert np.abs(occupancy.confidence - 255 * probability).max() <= 0.5 + 1e-3
    assert (occupancy.occupied == (probability > 0.1)).all()
    best = predictor.field.semantics[0].argmax(0).numpy()
    assert (occupancy.labels[occupancy.occupied] == best[occupancy.occupied]).all()
    assert (occupancy.labels[~occupancy.occupied] == 3).all()


def test_observed_is_what_the_camera_models_see(predictor: Predictor, ring_set: Sets) -> None:
    cameras = ring_set(missing=(1,))
    occupancy = predictor.predict(cameras)
    wanted = np.zeros(occupancy.grid.size, bool)
    for posed in cameras.images:
        if posed is not None:
            points = posed.ego_from_camera.inverse().apply(occupancy.grid.centres())
            wanted |= posed.model.project(points)[1]
    assert occupancy.in_view is not None
    # The network's image is the camera's, scaled: rounding may move a voxel on the very edge.
    assert (occupancy.in_view != wanted).mean() < 0.002
    assert not occupancy.in_view.all()
    everything = predictor.predict(ring_set())
    assert everything.in_view is not None
    assert everything.in_view.sum() > occupancy.in_view.sum()


def test_missing_camera_gives_what_a_smaller_rig_gives(
    predictor: Predictor, ring_set: Sets
) -> None:
    whole = ring_set()
    rest = [0, 2, 3]
    smaller = CameraSet(
        0, tuple(whole.names[i] for i in rest), tuple(whole.images[i] for i in rest)
    )
    with_gap = replace(whole, images=(*whole.images[:1], None, *whole.images[2:]))
    predictor.predict(whole)  # so that the calibration of c1 is known
    masked = predictor.predict(with_gap)
    assert (masked.confidence != predictor.predict(whole).confidence).any()
    predictor.reset()
    alone = predictor.predict(smaller)
    assert np.abs(masked.confidence.astype(int) - alone.confidence).max() <= 1


def tables_made(predictor: Predictor) -> int:
    made = predictor._runner.tables_made  # type: ignore[attr-defined]
    assert isinstance(made, int)
    return made


def test_tables_are_made_when_a_camera_moves_and_only_then(
    predictor: Predictor, ring_set: Sets
) -> None:
    predictor.predict(ring_set(1, missing=(2,)))
    assert tables_made(predictor) == 1
    predictor.predict(ring_set(2))
    assert tables_made(predictor) == 2, "c2 is new"
    for number in range(3):
        predictor.predict(ring_set(3 + number, missing=(number,)))
    assert tables_made(predictor) == 2, "a missing camera keeps its place in the table"
    predictor.predict(ring_set(10, shift_m=0.01))
    assert tables_made(predictor) == 2
    predictor.predict(ring_set(11, shift_m=0.5))
    assert tables_made(predictor) == 3


@pytest.mark.parametrize("parts", [FUSION, STEREO, MATCHED], ids=["fusion", "stereo", "matched"])
def test_a_stream_fuses_what_training_would(
    parts: dict[str, Any], tiny_model: Models, ring_set: Sets
) -> None:
    """The running stream must give what the network gives when called with all instants."""
    model = tiny_model(**parts)
    predictor = Predictor.from_model(model, device="cpu")
    steps = [STILL] + [RigidTransform(np.eye(3), np.array([2.0 * i, 0.5, 0.0])) for i in (1, 2)]
    sets = [ring_set(i * 500_000_000, seed=i, odom_from_ego=pose) for i, pose in enumerate(steps)]
    for camera_set in sets:
        streamed = predictor.predict(camera_set)
    prepare = ImagePreprocessor(model.network.config.image)
    first, then, now = (
        camera_tensors(prepare(s), torch.device("cpu"), model.network.config.image) for s in sets
    )
    motions = [
        torch.from_numpy((pose.inverse() @ steps[2]).matrix).float()[None] for pose in steps[:2]
    ]
    past = [PastCameras(then, motions[1]), PastCameras(first, motions[0])]
    with torch.no_grad():
        field = model.network(now, past[: model.network.config.architecture.past_instants])
        without = model.network(now)
    assert predictor.field is not None
    torch.testing.assert_close(predictor.field.density, field.density, atol=1e-4, rtol=1e-4)
    assert (field.density - without.density).abs().max() > 0.01, "the past must matter"
    assert streamed.stamp_ns == 1_000_000_000


@pytest.mark.parametrize("parts", [FUSION, STEREO], ids=["fusion", "stereo"])
@pytest.mark.parametrize("cause", ["backward", "gap", "reset", "no_odometry", "other_cameras"])
def test_the_past_is_forgotten(
    cause: str, parts: dict[str, Any], tiny_model: Models, ring_set: Sets
) -> None:
    model = tiny_model(**{**parts, "temporal": {"past_frames": 1, "max_gap_s": 1.0}})
    predictor = Predictor.from_model(model, device="cpu")
    stamp = {"backward": 100, "gap": 3_000_000_000}.get(cause, 500_000_000)
    pose = None if cause == "no_odometry" else STILL
    last = ring_set(stamp, seed=1, odom_from_ego=pose)
    fresh = predictor.predict(last)
    predictor.reset()
    count = 3 if cause == "other_cameras" else 4
    predictor.predict(ring_set(200, seed=0, odom_from_ego=STILL, cameras=count))
    if cause == "reset":
        predictor.reset()
    assert (predictor.predict(last).confidence == fresh.confidence).all()


def test_stereo_runs_eager_alone(tiny_model: Models, tmp_path: Path) -> None:
    model = tiny_model(**STEREO)
    with pytest.raises(ValueError, match=r"depth\.stereo\), which backend = 'compile' cannot"):
        Predictor.from_model(model, device="cpu", backend="compile")
    with pytest.raises(ValueError, match="cannot be exported: it matches with the past frame"):
        export_onnx(model, tmp_path / "model.onnx", cameras=4)


def test_wrong_number_of_cameras(tiny_model: Models, ring_set: Sets) -> None:
    model = tiny_model()
    model.network.config = model.network.config.model_copy(update={"cameras": 6})
    predictor = Predictor.from_model(model, device="cpu")
    with pytest.raises(ValueError, match=r"4 cameras \(c0, c1, c2, c3\), network 'tiny' takes 6"):
        predictor.predict(ring_set())


def test_a_grid_that_no_camera_sees(predictor: Predictor, ring_set: Sets) -> None:
    far = ring_set(shift_m=500.0)
    with pytest.raises(ValueError, match=r"no camera of c0, c1, c2, c3 looks into the grid"):
        predictor.predict(far)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", np.nan, r"camera 'c2': images holds numbers that are not finite"),
        ("images", np.inf, r"camera 'c2': images holds numbers that are not finite"),
        ("ego_from_camera", np.nan, r"camera 'c2': ego_from_camera holds numbers"),
        ("intrinsics", np.nan, r"camera 'c2': intrinsics holds numbers"),
        ("intrinsics", 0.0, r"camera 'c2': intrinsics .* have no inverse"),
    ],
)
def test_numbers_that_cannot_be(
    field: str, value: float, message: str, predictor: Predictor, ring_set: Sets
) -> None:
    camera_set = ring_set()
    cameras = ImagePreprocessor(predictor.config.image)(camera_set)
    broken = getattr(cameras, field).copy()
    broken[2, 0] = value
    bad = replace(cameras, **{field: broken})
    with pytest.raises(ValueError, match=message):
        predictor.predict_input(bad, camera_set)
    masked = replace(bad, valid=np.array([True, True, False, True]))
    wanted = predictor.predict(ring_set(missing=(2,)))
    predictor.reset()
    assert (predictor.predict_input(masked, camera_set).labels == wanted.labels).all()


def test_images_of_another_size(predictor: Predictor, ring_set: Sets) -> None:
    camera_set = ring_set()
    good = ImagePreprocessor(predictor.config.image)(camera_set)
    bad = NetworkInput(good.images[..., :32], good.intrinsics, good.ego_from_camera, good.valid)
    message = r"images has shape \(4, 3, 32, 32\), the network takes \(4, 3, 32, 64\)"
    with pytest.raises(ValueError, match=message):
        predictor.predict_input(bad, camera_set)
    none = replace(good, valid=np.zeros(4, bool))
    with pytest.raises(ValueError, match="none of the cameras c0, c1, c2, c3 is valid"):
        predictor.predict_input(none, camera_set)


def test_bytes_and_floats_give_the_same(predictor: Predictor, ring_set: Sets) -> None:
    camera_set = ring_set()
    wanted = predictor.predict(camera_set)
    as_bytes = ImagePreprocessor(predictor.config.image, normalise=False)(camera_set)
    assert as_bytes.images.dtype == np.uint8
    result = predictor.predict_input(as_bytes, camera_set)
    assert np.abs(result.confidence.astype(int) - wanted.confidence).max() <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:99"}, "device = 'cuda:99' cannot be used"),
        ({"device": "toaster"}, "device = 'toaster' cannot be used"),
        ({"backend": "magic"}, "backend = 'magic' is not one of: eager, compile, cuda_graph"),
        ({"precision": "int4"}, "precision = 'int4' is not one of"),
        ({"threads": 0}, "threads = 0 must be at least 1"),
        ({"backend": "cuda_graph", "device": "cpu"}, "needs a CUDA device, got 'cpu'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, str], message: str, tiny_model: Models) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor.from_model(tiny_model(), **options)


def test_unknown_preset_lists_the_shipped_ones() -> None:
    with pytest.raises(
        ValueError, match=r"no networks file 'nanoo'; .*nano, nano-resnet, r50, r50-fast"
    ):
        Predictor.from_preset("nanoo")

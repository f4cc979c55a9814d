"""Plain arrays in, the same voxels out as of a camera set."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import renderocc_ros
from renderocc_ros.checkpoint import Model, save_checkpoint
from renderocc_ros.occupancy_model import OccupancyModel
from renderocc_ros.rig.camera_set import CameraSet

Arrays = dict[str, Any]


@pytest.fixture
def model(tiny_model: Callable[..., Model], tmp_path: Path) -> OccupancyModel:
    save_checkpoint(tiny_model(), tmp_path / "tiny.safetensors")
    loaded = renderocc_ros.load(tmp_path / "tiny.safetensors", device="cpu")
    assert isinstance(loaded, OccupancyModel)
    return loaded


def arrays_of(cameras: CameraSet) -> Arrays:
    posed = [image for image in cameras.images if image is not None]
    return {
        "images": [image.pixels for image in posed],
        "intrinsics": [image.model.intrinsics for image in posed],
        "ego_from_camera": [image.ego_from_camera.matrix for image in posed],
    }


@pytest.fixture
def arrays(ring_set: Callable[..., CameraSet]) -> Arrays:
    return arrays_of(ring_set())


def test_arrays_give_what_a_camera_set_gives(
    model: OccupancyModel, ring_set: Callable[..., CameraSet]
) -> None:
    cameras = ring_set()
    voxels, wanted = model(**arrays_of(cameras)), model.predictor.predict(cameras)
    for name in ("labels", "confidence", "in_view"):
        np.testing.assert_array_equal(getattr(voxels, name), getattr(wanted, name))
    assert voxels.class_set.names == ("ground", "wall", "cart")


def test_one_array_or_lists_and_camera_models_are_the_same(
    model: OccupancyModel, ring_set: Callable[..., CameraSet]
) -> None:
    cameras = ring_set()
    arrays = arrays_of(cameras)
    wanted = model(**arrays).labels
    stacked = {name: np.stack(values) for name, values in arrays.items()}
    np.testing.assert_array_equal(model(**stacked).labels, wanted)
    lists = arrays | {"intrinsics": [matrix.tolist() for matrix in arrays["intrinsics"]]}
    np.testing.assert_array_equal(model(**lists).labels, wanted)
    models = arrays | {"intrinsics": [image.model for image in cameras.images if image]}
    np.testing.assert_array_equal(model(**models).labels, wanted)


def test_the_documented_lines_run(arrays: Arrays) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    two_lines, results, *_ = re.findall(r"```python\n(.*?)```", page, re.S)
    names = dict(arrays)
    exec(two_lines, names)
    for line in results.splitlines():
        assert np.size(eval(line, names)), line


def test_a_camera_without_image(model: OccupancyModel, arrays: Arrays) -> None:
    seen = model(**arrays).in_view
    arrays["images"][0] = None
    fewer = model(**arrays).in_view
    assert seen is not None and fewer is not None and 0 < fewer.sum() < seen.sum()


def test_calls_without_a_pose_do_not_know_each_other(arrays: Arrays) -> None:
    nano = renderocc_ros.load("nano", device="cpu")
    first, later = nano(**arrays), nano(**arrays, stamp_s=10.0)
    np.testing.assert_array_equal(first.confidence, later.confidence)
    pose = np.eye(4)
    remembered = [nano(**arrays, stamp_s=s, odom_from_ego=pose) for s in (1.0, 1.1)]
    np.testing.assert_array_equal(remembered[0].labels, first.labels)
    assert remembered[1].stamp_ns == 1_100_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(images=a["images"][:3]), "'images': 3, 'intrinsics': 4"),
        (lambda a: a.update(images=[], intrinsics=[], ego_from_camera=[]), "one entry for each"),
        (lambda a: a["images"].__setitem__(1, a["images"][1] / 255), "camera 1: image float64"),
        (lambda a: a["images"].__setitem__(1, a["images"][1].transpose(2, 0, 1)), "channels last"),
        (lambda a: a["images"].__setitem__(1, a["images"][1][..., 0]), "RGB"),
        (lambda a: a["intrinsics"].__setitem__(2, np.eye(4)), "camera 2: intrinsics must be 3x3"),
        (lambda a: a["intrinsics"].__setitem__(2, np.zeros((3, 3))), "camera 2: focal lengths"),
        (lambda a: a["intrinsics"].__setitem__(2, "fx"), "camera 2: "),
        (lambda a: a["ego_from_camera"].__setitem__(0, np.eye(3)), "camera 0: not a homogeneous"),
        (lambda a: a["ego_from_camera"].__setitem__(3, 2 * np.eye(4)), "camera 3: not a homog"),
        (lambda a: a["ego_from_camera"].__setitem__(3, np.diag([2, 1, 1, 1])), "camera 3: rotat"),
        (lambda a: a.update(stamp_s=float("nan")), "stamp_s = nan"),
        (lambda a: a.update(odom_from_ego=np.eye(4)), "needs stamp_s"),
        (lambda a: a.update(stamp_s=1.0, odom_from_ego=np.eye(3)), "not a homogeneous"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    model: OccupancyModel, arrays: Arrays, change: Callable[[Arrays], None], message: str
) -> None:
    change(arrays)
    with pytest.raises(ValueError, match=message):
        model(**arrays)


@pytest.mark.parametrize("name", ["r50", "no_such_network", ""])
def test_a_name_without_weights_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has no weights: give nano"):
        renderocc_ros.load(name)


def test_the_package_offers_nothing_else() -> None:
    with pytest.raises(AttributeError, match="'loud'"):
        renderocc_ros.loud  # noqa: B018

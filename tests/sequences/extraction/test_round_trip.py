"""nuScenes → bag → extraction gives nuScenes back, and the devkit works on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("nuscenes", reason="nuscenes-devkit needs Python below 3.13")

import matplotlib as mpl
from nuscenes.nuscenes import NuScenes

from renderocc_ros.config import load_rig
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.extraction.job import Job
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.pool import extract
from renderocc_training.sequences.nuscenes_to_bag import write_sequence

mpl.use("Agg")
VERSION = "v1.0-mini"
SENSOR_FIELDS = ("timestamp", "filename", "fileformat", "is_key_frame", "width", "height")
BOX_FIELDS = ("category_name", "translation", "size", "visibility_token")


@pytest.fixture(scope="module")
def original(nuscenes_root: Path) -> NuScenes:
    return NuScenes(VERSION, str(nuscenes_root), verbose=False, map_resolution=1.0)


@pytest.fixture(scope="module")
def again(nuscenes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    folder = tmp_path_factory.mktemp("round_trip")
    (sequence,) = open_sequences(nuscenes_root, as_recorded=True)
    write_sequence(sequence, sequence.measurements(key_frames_only=True), folder / "drive")
    job = Job(folder / "drive", folder / "data", load_rig("nuscenes"), ExtractOptions())
    (report,) = extract([job], VERSION)
    assert report.skipped == {}
    assert report.problems == []
    return NuScenes(VERSION, str(folder / "data"), verbose=False, map_resolution=1.0)


@pytest.fixture(scope="module")
def pairs(original: NuScenes, again: NuScenes) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Samples of both, in the order of time."""
    both = [sorted(each.sample, key=lambda s: s["timestamp"]) for each in (original, again)]
    assert len(both[0]) == len(both[1]) >= 4
    return list(zip(*both, strict=True))


def upright(rotation: list[float]) -> np.ndarray:
    """A quaternion (w, x, y, z) with the sign that makes w positive."""
    return np.array(rotation) * (np.sign(rotation[0]) or 1.0)


def test_samples_and_sensor_files_are_the_same(
    original: NuScenes, again: NuScenes, pairs: Any
) -> None:
    for before, after in pairs:
        assert before["timestamp"] == after["timestamp"]
        channels = {name for name in before["data"] if "RADAR" not in name}
        assert set(after["data"]) == channels
        for name in channels:
            old = original.get("sample_data", before["data"][name])
            new = again.get("sample_data", after["data"][name])
            for field in SENSOR_FIELDS:
                assert new[field] == old[field], field
            files = [Path(db.dataroot, r["filename"]) for db, r in ((original, old), (again, new))]
            assert files[0].read_bytes() == files[1].read_bytes()


def test_poses_and_calibration_are_the_same(
    original: NuScenes, again: NuScenes, pairs: Any
) -> None:
    for before, after in pairs:
        for name in after["data"]:
            old = original.get("sample_data", before["data"][name])
            new = again.get("sample_data", after["data"][name])
            for table in ("ego_pose", "calibrated_sensor"):
                records = [
                    database.get(table, record[f"{table}_token"])
                    for database, record in ((original, old), (again, new))
                ]
                translations = [record["translation"] for record in records]
                np.testing.assert_allclose(translations[0], translations[1], atol=1e-9)
                rotations = [upright(record["rotation"]) for record in records]
                np.testing.assert_allclose(rotations[0], rotations[1], atol=1e-9)
            assert records[0]["camera_intrinsic"] == records[1]["camera_intrinsic"]


def test_annotations_and_their_tracks_are_the_same(
    original: NuScenes, again: NuScenes, pairs: Any
) -> None:
    def boxes(database: NuScenes, sample: dict[str, Any]) -> list[dict[str, Any]]:
        result = [database.get("sample_annotation", token) for token in sample["anns"]]
        return sorted(result, key=lambda box: (box["category_name"], box["translation"]))

    instance_of: dict[str, str] = {}
    for before, after in pairs:
        old, new = boxes(original, before), boxes(again, after)
        assert len(old) == len(new)
        for one, other in zip(old, new, strict=True):
            for field in BOX_FIELDS:
                assert one[field] == other[field], field
            np.testing.assert_allclose(
                upright(one["rotation"]), upright(other["rotation"]), atol=1e-9
            )
            names = [
                [database.get("attribute", each)["name"] for each in box["attribute_tokens"]]
                for database, box in ((original, one), (again, other))
            ]
            assert names[0] == names[1]
            token = instance_of.setdefault(one["instance_token"], other["instance_token"])
            assert token == other["instance_token"]
            assert bool(one["next"]) == bool(other["next"])
            np.testing.assert_array_equal(
                original.box_velocity(one["token"]), again.box_velocity(other["token"])
            )
    assert len(instance_of) == len(original.instance) == len(again.instance)


def test_the_recorded_boxes_count_as_many_points_as_nuscenes(
    nuscenes_root: Path, original: NuScenes, again: NuScenes, pairs: Any
) -> None:
    if "scene-9001" in {scene["name"] for scene in original.scene}:
        pytest.skip("the counts of the made data set are made up")
    for before, after in pairs:
        counts = [
            sorted(database.get("sample_annotation", each)["num_lidar_pts"] for each in anns)
            for database, anns in ((original, before["anns"]), (again, after["anns"]))
        ]
        assert counts[0] == counts[1]


def test_the_devkit_s_renderers_work(again: NuScenes, tmp_path: Path) -> None:
    sample = sorted(again.sample, key=lambda s: s["timestamp"])[1]
    data = sample["data"]
    again.list_sample(sample["token"])
    again.render_sample(sample["token"], out_path=str(tmp_path / "sample.png"), verbose=False)
    for channel in ("CAM_BACK_LEFT", "LIDAR_TOP"):
        out = str(tmp_path / f"{channel}.png")
        again.render_sample_data(data[channel], out_path=out, verbose=False)
    again.render_pointcloud_in_image(
        sample["token"],
        camera_channel="CAM_FRONT",
        out_path=str(tmp_path / "cloud.png"),
        verbose=False,
    )
    again.render_annotation(sample["anns"][0], out_path=str(tmp_path / "annotation.png"))
    again.render_instance(again.instance[0]["token"], out_path=str(tmp_path / "instance.png"))
    again.render_egoposes_on_map(again.log[0]["location"], out_path=str(tmp_path / "map.png"))
    pictures = sorted(tmp_path.glob("*.png"))
    assert len(pictures) == 7
    assert all(picture.stat().st_size > 5000 for picture in pictures)

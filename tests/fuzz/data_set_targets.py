"""Data sets on disk: tables, calibrations, poses, sweeps and labels of every layout."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

from renderocc_training.sequences.data_sets import DataFormat, open_sequences
from renderocc_training.sequences.sensor_files import read_point_labels, read_points
from renderocc_training.supervision.labels.label_images import label_image_file, read_label_image
from renderocc_training.supervision.labels.picture_crop import read_crop
from tests.fuzz.damage import damaged_bytes, damaged_json
from tests.fuzz.target import Target
from tests.sequences.conftest import VERSION, TinyNuscenes
from tests.sequences.extraction.test_layouts import tiny_ddad, tiny_kitti

TABLES = (
    *("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor"),
    *("sample_annotation", "instance", "category", "attribute", "visibility", "log", "map"),
)
STAMP = 16_000_000_000_000_000  # of the tiny DDAD's first reading


def _read(folder: Path, format: DataFormat) -> None:
    """As labels and training do: every frame, its sweep, point labels and boxes."""
    for sequence in open_sequences(folder / "data", format):
        for frame in sequence.frames:
            assert frame.world_from_ego.matrix.shape == (4, 4)
            if frame.lidar is not None:
                points = read_points(frame.lidar)
                if frame.lidar.labels is not None:
                    read_point_labels(frame.lidar.labels, len(points))
        for track in sequence.tracks.values():
            track.at(track.stamps_ns[0])


def _target(
    file: str,
    make: Callable[[Path], object],
    damaged: Callable[[bytes], st.SearchStrategy[bytes]],
    format: DataFormat,
) -> Target:
    return Target(
        f"data/{file}",
        lambda at: make(at / "data") and None,
        damaged,
        lambda at: _read(at, format),
        inputs=12,
    )


def _make_label_image(folder: Path) -> None:
    sequence = open_sequences(tiny_kitti(folder / "data"), "semantickitti")[0]
    camera = sequence.frames[0].cameras[0]
    assert camera is not None
    file = label_image_file(sequence, "classes", camera)
    file.parent.mkdir(parents=True)
    cv2.imwrite(str(folder / "label.png"), np.eye(20, 60, dtype=np.uint8))


def _read_label_image(folder: Path) -> object:
    sequence = open_sequences(folder / "data", "semantickitti")[0]
    camera = sequence.frames[0].cameras[0]
    assert camera is not None
    label_image_file(sequence, "classes", camera).write_bytes((folder / "label.png").read_bytes())
    return read_label_image(sequence, "classes", camera)


def _damaged_map(sound: bytes) -> st.SearchStrategy[bytes]:
    """Its bytes, or what its header says of its size and kind."""
    sizes = st.sampled_from((0, 1, 39, 41, 10**5, 2**31 - 1, 2**32 - 1))
    kinds = st.tuples(*(st.integers(0, 17) for _ in range(5)))
    headers = st.builds(
        lambda width, height, kind: struct.pack(">II5B", width, height, *kind),
        sizes | st.just(40),
        sizes | st.just(40),
        st.just((8, 0, 0, 0, 0)) | kinds,
    )
    return damaged_bytes(sound) | headers.map(
        lambda header: (
            sound[:16] + header + struct.pack(">I", zlib.crc32(sound[12:16] + header)) + sound[33:]
        )
    )


def _read_map(folder: Path) -> None:
    """As labels from boxes do, around the drive and at the map's edges."""
    sequence = open_sequences(folder / "data", "nuscenes")[0]
    assert sequence.road_mask is not None
    for left, bottom, right, top in ((0, 0, 40, 40), (10, 5, 20, 30), (35, 35, 90, 90)):
        crop = read_crop(sequence.road_mask, left, bottom, right, top)
        assert crop.ndim == 2 and crop.shape[0] <= top - bottom and crop.shape[1] <= right - left


DATA_SETS = {
    "nuScenes road map": Target(
        "data/maps/map.png",
        lambda at: TinyNuscenes(at / "data").write() and None,
        _damaged_map,
        _read_map,
    ),
    **{
        f"nuScenes {name}.json": _target(
            f"{VERSION}/{name}.json",
            lambda at: TinyNuscenes(at).write(),
            damaged_json,
            "nuscenes",
        )
        for name in TABLES
    },
    **{
        f"SemanticKITTI {file}": _target(
            f"sequences/00/{file}", tiny_kitti, damaged_bytes, "semantickitti"
        )
        for file in (
            *("calib.txt", "poses.txt", "times.txt"),
            *("velodyne/000000.bin", "labels/000000.label", "image_2/000000.png"),
        )
    },
    **{
        f"DDAD {file}": _target(
            f"scene_1/{file}",
            tiny_ddad,
            damaged_json if file.endswith(".json") else damaged_bytes,
            "ddad",
        )
        for file in (
            *("../scene_dataset.json", "scene_x.json", "calibration/c.json", "ontology/o.json"),
            *(f"bounding_box_3d/{STAMP}.json", f"point_cloud/LIDAR/{STAMP}.npz"),
        )
    },
    "label PNG": Target("label.png", _make_label_image, damaged_bytes, _read_label_image, 12),
}

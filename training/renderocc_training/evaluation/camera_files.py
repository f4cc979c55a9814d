"""Where each camera of a frame was and how it projects, kept beside the frame's small pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.files import write_bytes
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.outside_data import parsing, read_json
from renderocc_ros.rig.camera_set import CameraSet, PosedImage

FILE = "cameras.json"
CURE = "evaluate again"


def write_cameras(folder: Path, cameras: CameraSet) -> None:
    """Write poses and models of a set's cameras; its images are not looked at."""
    odom = cameras.odom_from_ego
    content = {
        "names": cameras.names,
        "odom_from_ego": None if odom is None else odom.matrix.tolist(),
        "readings": [_as_json(posed) for posed in cameras.images if posed is not None],
    }
    write_bytes(folder / FILE, json.dumps(content).encode())


def read_cameras(folder: Path, stamp_ns: int, images: Mapping[str, Path]) -> CameraSet | None:
    """The set with its small pictures, models scaled to them; None where nothing was kept.

    Args:
        images: files by camera name.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    content = read_json(path, CURE)
    with parsing(path, CURE):
        posed_images = {
            entry["name"]: _reading(entry, _image(images[entry["name"]]))
            for entry in content["readings"]
            if entry["name"] in images
        }
        if not posed_images:
            return None
        odom = content["odom_from_ego"]
        return CameraSet(
            stamp_ns,
            tuple(content["names"]),
            tuple(posed_images.get(name) for name in content["names"]),
            None if odom is None else RigidTransform.from_matrix(odom),
        )


def _as_json(posed: PosedImage) -> dict[str, Any]:
    model = posed.model
    return {
        "name": posed.name,
        "stamp_ns": posed.stamp_ns,
        "width": model.width,
        "height": model.height,
        "intrinsics": model.intrinsics.tolist(),
        "distortion_model": model.distortion_model,
        "distortion": model.distortion,
        "ego_from_camera": posed.ego_from_camera.matrix.tolist(),
    }


def _reading(entry: Mapping[str, Any], image: NDArray[np.uint8]) -> PosedImage:
    model = CameraModel(
        entry["width"],
        entry["height"],
        np.array(entry["intrinsics"]),
        entry["distortion_model"],
        tuple(entry["distortion"]),
    )
    return PosedImage(
        entry["name"],
        entry["stamp_ns"],
        image,
        model.resized(image.shape[1], image.shape[0]),
        RigidTransform.from_matrix(entry["ego_from_camera"]),
    )


def _image(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path} is no picture that can be read: evaluate again")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

"""A network as a function of plain arrays, for those who have images and no ROS.

import renderocc_ros as renderocc

model = renderocc.load("nano")
voxels = model(images, intrinsics, ego_from_camera)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros import hub
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.models import model_file
from renderocc_ros.rig.camera_set import CameraSet, PosedImage


def load(name: str | Path, **options: Any) -> OccupancyModel:
    """A model ready to run.

    Args:
        name: a network with weights of its own ("nano"), the file of a checkpoint or of an export
            (.safetensors, .onnx), or "hf://organisation/name" on the Hugging Face hub. Files hold
            numbers and a header, and loading them runs no code.
        options: ``device`` ("auto", "cpu", "cuda" …), ``precision``, ``threads`` and the others of
            ``renderocc_ros.prediction.Options``.

    Raises:
        ValueError: no such model, or not one of ours.
    """
    file = model_file(name)
    if file is None:
        raise ValueError(
            f"'{name}' has no weights: give nano, the file of a checkpoint, or "
            "hf://organisation/name; or train it first (renderocc train --network)"
        )
    return OccupancyModel(file, **options)


class OccupancyModel:
    """What ``load`` gives. Not for use from two threads at once.

    Attributes:
        file: the checkpoint.
        predictor: what runs it, for those who have ``CameraSet``s; its ``class_set``, ``grid`` and
            ``threshold`` are the model's.
    """

    def __init__(self, file: Path, **options: Any) -> None:
        self.file = file
        self.predictor = Predictor.from_checkpoint(file, **options)

    def __call__(
        self,
        images: Sequence[ArrayLike | None] | NDArray[np.uint8],
        intrinsics: Sequence[ArrayLike | CameraModel] | NDArray[np.floating[Any]],
        ego_from_camera: Sequence[ArrayLike] | NDArray[np.floating[Any]],
        *,
        stamp_s: float | None = None,
        odom_from_ego: ArrayLike | None = None,
    ) -> SemanticOccupancy:
        """Semantic occupancy of one instant, in the ego frame.

        Args:
            images: of N cameras, each (H, W, 3) uint8, RGB (OpenCV reads BGR: turn it round with
                ``image[..., ::-1]``), of any size; None where a camera gave no image.
            intrinsics: (N, 3, 3) camera matrices in pixels of these very images, the first pixel's
                centre at (0, 0), without distortion; for a lens that distorts a ``CameraModel`` in
                place of its matrix.
            ego_from_camera: (N, 4, 4) transforms, in metres, that take points of each camera's
                optical frame (z forward, x right, y down) to the ego frame (x forward, y left, z
                up, on the ground).
            stamp_s, odom_from_ego: for a network that remembers: when the images were taken, in
                seconds that grow from call to call, and the (4, 4) pose of the ego frame in a frame
                that does not jump. Without them each call stands alone.

        Raises:
            ValueError: shapes or numbers that cannot be, or no camera looks into the grid.
        """
        counts = {"images": len(images), "intrinsics": len(intrinsics)}
        counts["ego_from_camera"] = len(ego_from_camera)
        if len(set(counts.values())) > 1 or not counts["images"]:
            raise ValueError(f"one entry for each camera is needed in each of the three: {counts}")
        if odom_from_ego is not None and stamp_s is None:
            raise ValueError("odom_from_ego needs stamp_s: what is remembered fades with time")
        if stamp_s is not None and not np.isfinite(stamp_s):
            raise ValueError(f"stamp_s = {stamp_s}: give seconds")
        stamp_ns = round((stamp_s or 0.0) * 1e9)
        names = tuple(f"camera {number}" for number in range(len(images)))
        entries = zip(names, images, intrinsics, ego_from_camera, strict=True)
        posed = tuple(
            None if image is None else _posed(name, stamp_ns, np.asarray(image), camera, pose)
            for name, image, camera, pose in entries
        )
        odom = None if odom_from_ego is None else RigidTransform.from_matrix(odom_from_ego)
        return self.predictor.predict(CameraSet(stamp_ns, names, posed, odom))

    def push_to_hub(
        self, repository: str, *, private: bool = False, token: str | None = None
    ) -> str:
        """Put the checkpoint and a card on the hub; see ``renderocc_ros.hub.push``."""
        return hub.push(self.file, repository, private=private, token=token)


def _posed(
    name: str, stamp_ns: int, pixels: NDArray[Any], camera: ArrayLike | CameraModel, pose: ArrayLike
) -> PosedImage:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(
            f"{name}: image {pixels.dtype} {pixels.shape}; give (height, width, 3) uint8, RGB, "
            "0 to 255 (channels last, not scaled)"
        )
    height, width = pixels.shape[:2]
    try:
        model = (
            camera
            if isinstance(camera, CameraModel)
            else CameraModel(width, height, np.asarray(camera, np.float64))
        )
        return PosedImage(name, stamp_ns, pixels, model, RigidTransform.from_matrix(pose))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error

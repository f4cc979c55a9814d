"""Images of a frame as the network takes them, through the same code as on the robot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor, target_model
from renderocc_training.samples.training_sample import CameraViews
from renderocc_training.sequences.model import Frame, RecordedSequence
from renderocc_training.sequences.sensor_files import read_image
from renderocc_training.supervision.labels.cache import FrameLabels


class FrameImages:
    """Decodes and prepares the images of frames; keeps one plan per camera."""

    def __init__(self, config: ImageConfig) -> None:
        self._config = config
        self._preprocess = ImagePreprocessor(config)

    def views(self, sequence: RecordedSequence, frame: Frame) -> CameraViews:
        """All cameras of a frame; a missing one is zero and not valid.

        Raises:
            ValueError: a file that is missing or no image, or not of its calibration's size.
        """
        ego_from_world = frame.world_from_ego.inverse()
        posed_images = tuple(
            None if camera is None else read_image(camera, ego_from_world, self._preprocess)
            for camera in frame.cameras
        )
        ready = self._preprocess(CameraSet(frame.stamp_ns, sequence.camera_names, posed_images))
        return CameraViews(
            ready.images,
            ready.intrinsics.astype(np.float32),
            ready.ego_from_camera.astype(np.float32),
            ready.valid,
        )

    def nothing(self, cameras: int) -> CameraViews:
        """An instant of which there is no image."""
        size = (self._config.height, self._config.width)
        return CameraViews(
            np.zeros((cameras, 3, *size), np.float32),
            np.tile(np.eye(3, dtype=np.float32), (cameras, 1, 1)),
            np.tile(np.eye(4, dtype=np.float32), (cameras, 1, 1)),
            np.zeros(cameras, dtype=bool),
        )

    def nearest(
        self, frame: Frame, labels: FrameLabels, stride: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """(N, h, w) z-depth of the nearest label in each feature pixel of the network's images, in
        metres, and its class; NaN and ``IGNORE_ID`` where there is none."""
        height, width = self._config.height // stride, self._config.width // stride
        nearest_m = np.full((len(frame.cameras), height, width), np.nan, dtype=np.float32)
        class_id = np.full(nearest_m.shape, IGNORE_ID, dtype=np.uint8)
        known = labels.of(np.isfinite(labels.labels.range_m))
        for place, camera in enumerate(frame.cameras):
            if camera is None:
                continue
            here = known.of(known.camera == place).labels
            points = camera.model.rays(here.pixels) * here.range_m[:, None]
            pixels, inside = target_model(camera.model, self._config).project(points)
            column, row = np.floor((pixels[inside] + 0.5) / stride).astype(int).T
            depth_m = points[inside, 2].astype(np.float32)
            fits = (column < width) & (row < height)
            last = np.flatnonzero(fits)[np.argsort(-depth_m[fits], kind="stable")]  # the nearest
            nearest_m[place, row[last], column[last]] = depth_m[last]
            class_id[place, row[last], column[last]] = here.class_id[inside][last]
        return nearest_m, class_id

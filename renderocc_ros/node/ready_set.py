"""A set of images with all that the network needs to know about them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.node.camera_input import ArrivedImage
from renderocc_ros.rig.matched_set import MatchedSet

ImageSet = MatchedSet[ArrivedImage]


@dataclass(frozen=True, eq=False)
class ReadySet:
    """Images, still serialised, of those cameras that have a calibration and a pose.

    Attributes:
        stamp_ns: the set's stamp.
        images, models, ego_from_camera: by camera name, the same names in each.
        odom_from_ego: at the set's stamp; None for a rig without odometry.
        needed: fewest readable images with which the set is still used.
        last_arrival_s: when the set's last image came, ``time.perf_counter()``.
        ready_s: when all this was known, on the same clock.
    """

    stamp_ns: int
    images: Mapping[str, ArrivedImage]
    models: Mapping[str, CameraModel]
    ego_from_camera: Mapping[str, RigidTransform]
    odom_from_ego: RigidTransform | None
    needed: int
    last_arrival_s: float
    ready_s: float = field(default_factory=time.perf_counter)


def fresh_images(images: ImageSet) -> dict[str, ArrivedImage]:
    """The images of a matched set by camera name, without the missing ones."""
    pairs = zip(images.names, images.images, strict=True)
    return {name: image.item for name, image in pairs if image is not None}

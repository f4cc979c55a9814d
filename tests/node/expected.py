"""What the robot of the tests has sent, as the network is to see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from renderocc_ros.geometry import CameraModel
from renderocc_ros.occupancy.messages import stamp_ns_of
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_for
from tests.node import robot as robots


def camera_model() -> CameraModel:
    """Of each camera of the robot."""
    matrix = [[robots.FOCAL_PX, 0, (robots.WIDTH - 1) / 2]]
    matrix += [[0, robots.FOCAL_PX, (robots.HEIGHT - 1) / 2], [0, 0, 1]]
    return CameraModel(robots.WIDTH, robots.HEIGHT, np.array(matrix))


def sent_set(
    stamp_ns: int,
    images: Mapping[str, Any],
    start_ns: int,
    reduction_of: Callable[[CameraModel], int],
) -> CameraSet:
    """Image messages with the robot's true poses.

    Args:
        stamp_ns: of the set.
        images: messages by camera name.
        start_ns: when the robot started.
        reduction_of: by how much images of a camera are reduced: the preprocessor's.
    """
    odom_from_ego = robots.odom_from_ego(stamp_ns, start_ns)
    posed: dict[str, PosedImage] = {}
    for name, message in images.items():
        camera_ns = stamp_ns_of(message.header.stamp)
        moved = odom_from_ego.inverse() @ robots.odom_from_ego(camera_ns, start_ns)
        pixels, model = decode_for(message, camera_model(), reduction_of)
        posed[name] = PosedImage(
            name, camera_ns, pixels, model, moved @ robots.ego_from_camera(name)
        )
    cameras = tuple(posed.get(name) for name in robots.NAMES)
    return CameraSet(stamp_ns, robots.NAMES, cameras, odom_from_ego)

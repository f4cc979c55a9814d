"""The result in messages that other packages define: vision_msgs, octomap_msgs, nav2_msgs.

As in ``messages``, the library's ``make`` is passed that makes them.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.occupancy.messages import MakeMessage, header_message
from renderocc_ros.occupancy.objects import ObjectBox, object_boxes
from renderocc_ros.occupancy.octree import OCCUPIED, UNKNOWN, cell_states, to_octree
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

Bools = NDArray[np.bool_]
COLUMN_CELLS = 16  # of nav2_msgs/VoxelGrid


def to_detections(
    make: MakeMessage,
    occupancy: SemanticOccupancy,
    frame: str,
    names: Collection[str],
    min_voxels: int,
) -> Any:
    """The objects of some classes as vision_msgs/Detection3DArray; see ``object_boxes``.

    Each has one hypothesis: its class by name, the mean probability of its voxels, and the centre
    of its box.

    Args:
        frame: the frame that the grid lies in.
    """
    header = header_message(make, occupancy.stamp_ns, frame)
    class_names = occupancy.class_set.names
    return make(
        "vision_msgs/msg/Detection3DArray",
        header=header,
        detections=[
            _detection(make, header, box, class_names[box.label])
            for box in object_boxes(occupancy, names, min_voxels)
        ],
    )


def to_octomap(
    make: MakeMessage, occupancy: SemanticOccupancy, frame: str, visible: Bools | None = None
) -> Any:
    """Free and occupied cells as octomap_msgs/Octomap; see ``cell_states`` and ``to_octree``."""
    tree = to_octree(occupancy.grid, cell_states(occupancy, visible))
    return make(
        "octomap_msgs/msg/Octomap",
        header=header_message(make, occupancy.stamp_ns, frame),
        binary=True,
        id="OcTree",
        resolution=tree.cell_m,
        data=np.frombuffer(tree.data, np.int8),
    )


def to_voxel_grid(
    make: MakeMessage, occupancy: SemanticOccupancy, frame: str, visible: Bools | None = None
) -> Any:
    """The cells as nav2_msgs/VoxelGrid, whose columns have 16 of them at most; see ``cell_states``.

    In a column of 32 bits (nav2_voxel_grid), cell k has the bits k and 16 + k: both are set where
    it is occupied, the lower alone where it is unknown, none where it is free. Of a higher grid, as
    many cells as must be are made one: occupied if any is, else unknown if any is.
    """
    grid, states = occupancy.grid, cell_states(occupancy, visible)
    layers = math.ceil(grid.size[2] / COLUMN_CELLS)
    firsts = np.arange(0, grid.size[2], layers)
    occupied, unknown = (
        np.logical_or.reduceat(states == state, firsts, axis=2) for state in (OCCUPIED, UNKNOWN)
    )
    bits = np.uint32(1) << np.arange(len(firsts), dtype=np.uint32)
    lower, upper = (
        (known * bits).sum(axis=2, dtype=np.uint32) for known in (occupied | unknown, occupied)
    )
    (x, y, z), edge_m = grid.origin_m, grid.resolution_m
    return make(
        "nav2_msgs/msg/VoxelGrid",
        header=header_message(make, occupancy.stamp_ns, frame),
        data=np.ascontiguousarray((upper << 16 | lower).T).reshape(-1),
        origin=make("geometry_msgs/msg/Point32", x=x, y=y, z=z),
        resolutions=make("geometry_msgs/msg/Vector3", x=edge_m, y=edge_m, z=layers * edge_m),
        size_x=grid.size[0],
        size_y=grid.size[1],
        size_z=len(firsts),
    )


def _detection(make: MakeMessage, header: Any, box: ObjectBox, class_name: str) -> Any:
    (x, y, z), half = box.centre_m, box.yaw_rad / 2
    pose = make(
        "geometry_msgs/msg/Pose",
        position=make("geometry_msgs/msg/Point", x=x, y=y, z=z),
        orientation=make(
            "geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=math.sin(half), w=math.cos(half)
        ),
    )
    length_m, width_m, height_m = box.size_m
    hypothesis = make(
        "vision_msgs/msg/ObjectHypothesisWithPose",
        hypothesis=make("vision_msgs/msg/ObjectHypothesis", class_id=class_name, score=box.score),
        pose=make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=[0.0] * 36),
    )
    return make(
        "vision_msgs/msg/Detection3D",
        header=header,
        results=[hypothesis],
        bbox=make(
            "vision_msgs/msg/BoundingBox3D",
            center=pose,
            size=make("geometry_msgs/msg/Vector3", x=length_m, y=width_m, z=height_m),
        ),
        id="",
    )

"""SemanticOccupancy and SemanticClasses, to and from their messages.

Messages of rclpy and of rosbags are handled alike: to read one, only its fields are looked at; to
write one, its library's ``make`` is passed (rclpy's is ``ros_messages.make``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

NANOSECONDS = 1_000_000_000


class MakeMessage(Protocol):
    """Makes messages of one library."""

    def __call__(self, message_type: str, **fields: Any) -> Any:
        """A message by its full type name, such as "std_msgs/msg/Header".

        Its fields are given by name, all of them; sequences of numbers as arrays.
        """
        ...


def stamp_ns_of(time: Any) -> int:
    """A builtin_interfaces/Time as nanoseconds."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


# ------------------------------------------------------------------------------------- reading


def grid_of(message: Any) -> VoxelGrid:
    """Where the cells of a SemanticOccupancy message lie in its frame.

    Raises:
        ValueError: a grid that is turned in that frame.
    """
    at, turn = message.origin.position, message.origin.orientation
    if (turn.x, turn.y, turn.z) != (0.0, 0.0, 0.0):
        raise ValueError(f"the grid of a SemanticOccupancy is turned in its frame: {turn}")
    # float32 in the message: 0.4 arrives as 0.4000000059…
    size = (message.size_x, message.size_y, message.size_z)
    return VoxelGrid((at.x, at.y, at.z), round(float(message.resolution), 6), size)


def occupancy_of(message: Any, class_set: ClassSet) -> SemanticOccupancy:
    """The grid of a SemanticOccupancy message; its arrays share the message's memory.

    Where the message has no confidence, everything is sure.

    Raises:
        ValueError: the labels are of another class table than ``class_set``, or of another number
            than the sizes say; or the grid is turned.
    """
    if message.class_table != class_set.name:
        raise ValueError(
            f"the labels are of class table '{message.class_table}', not '{class_set.name}': "
            "load the class set of that name"
        )
    grid = grid_of(message)
    confidence = _volume(message, "confidence", grid)
    return SemanticOccupancy(
        stamp_ns_of(message.header.stamp),
        grid,
        class_set,
        _labels(message, grid),
        np.full(grid.size, 255, np.uint8) if confidence is None else confidence,
        _flags(message, grid),
    )


def truth_of(message: Any, lidar_message: Any | None = None) -> Occ3dTruth:
    """Truth: ``observed`` is ray-cast here and tells what is visible; if empty, everything is.

    Args:
        message: its ``observed`` tells what cameras see.
        lidar_message: of the same labels; its ``observed`` tells what the LiDAR sees. Without it
            the LiDAR sees what cameras see.

    Raises:
        ValueError: as ``occupancy_of``.
    """
    grid = grid_of(message)

    def visible(each: Any) -> NDArray[np.bool_]:
        observed = _flags(each, grid)
        return np.ones(grid.size, np.bool_) if observed is None else observed

    by_camera = visible(message)
    by_lidar = by_camera if lidar_message is None else visible(lidar_message)
    return Occ3dTruth(_labels(message, grid), by_camera, by_lidar)


def class_set_of(message: Any) -> ClassSet:
    """The table of a SemanticClasses message, without its free class."""

    def colour(value: Any) -> tuple[int, int, int]:
        return (round(255 * value.r), round(255 * value.g), round(255 * value.b))

    entries = (
        SemanticClass(entry.id, entry.name, colour(entry.colour), entry.moves)
        for entry in message.classes
        if not entry.free
    )
    return ClassSet(message.class_table, tuple(entries))


def _labels(message: Any, grid: VoxelGrid) -> NDArray[np.uint8]:
    labels = _volume(message, "labels", grid)
    if labels is None:
        raise ValueError("a SemanticOccupancy message without labels")
    return labels


def _flags(message: Any, grid: VoxelGrid) -> NDArray[np.bool_] | None:
    observed = _volume(message, "observed", grid)
    return None if observed is None else observed.astype(np.bool_)


def _volume(message: Any, name: str, grid: VoxelGrid) -> NDArray[np.uint8] | None:
    """A field of the message as (X, Y, Z); None if it is empty."""
    flat = np.asarray(getattr(message, name), np.uint8)
    if flat.size not in (0, grid.cell_count):
        raise ValueError(f"a SemanticOccupancy message of {grid.size} cells has {flat.size} {name}")
    return flat.reshape(grid.size) if flat.size else None


# ------------------------------------------------------------------------------------- writing


def to_message(
    make: MakeMessage,
    occupancy: SemanticOccupancy,
    frame: str,
    camera_stamps_ns: Mapping[str, int],
    missing: Sequence[str] = (),
) -> Any:
    """The whole grid as renderocc_ros/SemanticOccupancy.

    Args:
        frame: the frame that the grid lies in.
        camera_stamps_ns: acquisition time of each camera's image that went in.
        missing: the rig's other cameras.
    """
    grid, in_view = occupancy.grid, occupancy.in_view
    x, y, z = grid.origin_m
    return make(
        "renderocc_ros/msg/SemanticOccupancy",
        header=header_message(make, occupancy.stamp_ns, frame),
        origin=make(
            "geometry_msgs/msg/Pose",
            position=make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
        ),
        resolution=grid.resolution_m,
        size_x=grid.size[0],
        size_y=grid.size[1],
        size_z=grid.size[2],
        labels=_flat(occupancy.labels),
        confidence=_flat(occupancy.confidence),
        observed=np.zeros(0, np.uint8) if in_view is None else _flat(in_view),
        class_table=occupancy.class_set.name,
        cameras_used=list(camera_stamps_ns),
        camera_stamps=[_time(make, stamp_ns) for stamp_ns in camera_stamps_ns.values()],
        cameras_missing=list(missing),
    )


def to_classes_message(make: MakeMessage, class_set: ClassSet, stamp_ns: int) -> Any:
    """The class table as renderocc_ros/SemanticClasses: free last, and transparent."""
    free = SemanticClass(class_set.free_id, "free", (255, 255, 255))
    classes = []
    for entry in (*class_set.classes, free):
        r, g, b = (value / 255.0 for value in entry.colour)
        alpha = 0.0 if entry is free else 1.0
        classes.append(
            make(
                "renderocc_ros/msg/SemanticClass",
                id=entry.id,
                name=entry.name,
                colour=make("std_msgs/msg/ColorRGBA", r=r, g=g, b=b, a=alpha),
                moves=entry.moves,
                free=entry is free,
            )
        )
    return make(
        "renderocc_ros/msg/SemanticClasses",
        header=header_message(make, stamp_ns, ""),
        class_table=class_set.name,
        classes=classes,
    )


def header_message(make: MakeMessage, stamp_ns: int, frame: str) -> Any:
    """A std_msgs/Header of this acquisition time and frame."""
    return make("std_msgs/msg/Header", stamp=_time(make, stamp_ns), frame_id=frame)


def _time(make: MakeMessage, stamp_ns: int) -> Any:
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
    return make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)


def _flat(volume: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(volume).view(np.uint8).reshape(-1)

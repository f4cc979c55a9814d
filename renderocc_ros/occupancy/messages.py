"""From results to messages: exact, pure functions without a node.

Large arrays go into messages as ``array('B')``: rclpy checks every element of anything else.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.msg import SemanticClass, SemanticClasses
from renderocc_ros.msg import SemanticOccupancy as SemanticOccupancyMessage
from renderocc_ros.occupancy.from_messages import grid_of
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

NANOSECONDS = 1_000_000_000

# One point: 20 bytes, so that the floats stay aligned. rgb is the 0x00RRGGBB of PCL and rviz in
# the bits of a float32.
POINT_FIELDS = [
    PointField(name="x", offset=0, datatype=PointField.FLOAT32, count=1),
    PointField(name="y", offset=4, datatype=PointField.FLOAT32, count=1),
    PointField(name="z", offset=8, datatype=PointField.FLOAT32, count=1),
    PointField(name="rgb", offset=12, datatype=PointField.FLOAT32, count=1),
    PointField(name="label", offset=16, datatype=PointField.UINT8, count=1),
    PointField(name="confidence", offset=17, datatype=PointField.UINT8, count=1),
]
POINT_STEP = 20
POINT_DTYPE = point_cloud2.dtype_from_fields(POINT_FIELDS, point_step=POINT_STEP)


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds since the epoch as builtin_interfaces/Time."""
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def to_stamp_ns(time: Time) -> int:
    """builtin_interfaces/Time as nanoseconds."""
    return int(time.sec) * NANOSECONDS + int(time.nanosec)


def to_header(stamp_ns: int, frame: str) -> Header:
    """A header of this acquisition time and frame."""
    return Header(stamp=to_time(stamp_ns), frame_id=frame)


def to_points(occupancy: SemanticOccupancy, min_confidence: int = 0) -> NDArray[np.void]:
    """The occupied voxels as a structured array of :data:`POINT_DTYPE`, ascending by cell index.

    Points are voxel centres in metres.
    """
    cells = shown_cells(occupancy, min_confidence)
    labels = occupancy.labels.reshape(-1)[cells]
    points = np.zeros(len(cells), POINT_DTYPE)
    x, y, z = _cell_centres(occupancy.grid)
    points["x"], points["y"], points["z"] = x[cells], y[cells], z[cells]
    points["rgb"] = _packed_colours(occupancy.class_set)[labels]
    points["label"] = labels
    points["confidence"] = occupancy.confidence.reshape(-1)[cells]
    return points


def to_cloud(occupancy: SemanticOccupancy, frame: str, min_confidence: int = 0) -> PointCloud2:
    """The occupied voxels as a cloud of x, y, z, rgb, label and confidence (0 to 255).

    Args:
        frame: the frame that the grid lies in.
        min_confidence: voxels less sure than this (0 to 255) are left out.
    """
    points = to_points(occupancy, min_confidence)
    header = to_header(occupancy.stamp_ns, frame)
    return point_cloud2.create_cloud(header, POINT_FIELDS, points, POINT_STEP)


def to_occupancy_message(
    occupancy: SemanticOccupancy,
    frame: str,
    camera_stamps_ns: Mapping[str, int],
    missing: tuple[str, ...] = (),
) -> SemanticOccupancyMessage:
    """The whole grid.

    Args:
        frame: the frame that the grid lies in.
        camera_stamps_ns: acquisition time of each camera's image that went in.
        missing: the rig's other cameras.
    """
    grid = occupancy.grid
    message = SemanticOccupancyMessage(
        header=to_header(occupancy.stamp_ns, frame),
        origin=Pose(position=Point(**dict(zip("xyz", grid.origin_m, strict=True)))),
        resolution=grid.resolution_m,
        class_table=occupancy.class_set.name,
        cameras_used=list(camera_stamps_ns),
        camera_stamps=[to_time(stamp_ns) for stamp_ns in camera_stamps_ns.values()],
        cameras_missing=list(missing),
    )
    message.size_x, message.size_y, message.size_z = grid.size
    message.labels = to_bytes(occupancy.labels)
    message.confidence = to_bytes(occupancy.confidence)
    if occupancy.observed is not None:
        message.observed = to_bytes(occupancy.observed)
    return message


def from_occupancy_message(
    message: SemanticOccupancyMessage, class_set: ClassSet
) -> SemanticOccupancy:
    """The grid of a message; its arrays share the message's memory.

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
    volumes = [
        np.frombuffer(data, np.uint8).reshape(grid.size) if len(data) else None
        for data in (message.labels, message.confidence, message.observed)
    ]
    labels, confidence, observed = volumes
    if labels is None or confidence is None:
        raise ValueError("a SemanticOccupancy message without labels or without confidence")
    return SemanticOccupancy(
        stamp_ns=to_stamp_ns(message.header.stamp),
        grid=grid,
        class_set=class_set,
        labels=labels,
        confidence=confidence,
        observed=None if observed is None else observed.astype(bool),
    )


def to_classes_message(class_set: ClassSet, stamp_ns: int) -> SemanticClasses:
    """The class table, free last."""
    entries = [
        SemanticClass(
            id=entry.id, name=entry.name, colour=to_colour(entry.colour), moves=entry.moves
        )
        for entry in class_set.classes
    ]
    free = SemanticClass(id=class_set.free_id, name="free", free=True)
    message = SemanticClasses(class_table=class_set.name, classes=[*entries, free])
    message.header.stamp = to_time(stamp_ns)
    return message


def to_colour(colour: tuple[int, int, int]) -> ColorRGBA:
    """(r, g, b) of 0 to 255 as an opaque colour."""
    r, g, b = (value / 255.0 for value in colour)
    return ColorRGBA(r=r, g=g, b=b, a=1.0)


def to_markers(occupancy: SemanticOccupancy, frame: str, limit: int) -> MarkerArray:
    """One CUBE_LIST per class: namespace "voxels", id the class id, the class's single colour.

    A class without voxels gets DELETE, so whoever missed a message is right after the next one.
    This is the plain form of :func:`renderocc_ros.occupancy.marker_bytes.to_marker_bytes`.

    Args:
        frame: the frame that the grid lies in.
        limit: the most cubes in all; the most confident ones stay.
    """
    array_message = MarkerArray()
    for class_id, centres in cubes_by_class(occupancy, limit).items():
        marker = empty_marker(occupancy, frame, class_id)
        if not len(centres):
            marker.action = Marker.DELETE
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in centres.tolist()]
        array_message.markers.append(marker)
    return array_message


def empty_marker(occupancy: SemanticOccupancy, frame: str, class_id: int) -> Marker:
    """The CUBE_LIST of a class, without its points."""
    marker = Marker(header=to_header(occupancy.stamp_ns, frame), ns="voxels", id=class_id)
    marker.type, marker.action = Marker.CUBE_LIST, Marker.ADD
    marker.pose.orientation.w = 1.0
    edge = occupancy.grid.resolution_m
    marker.scale.x = marker.scale.y = marker.scale.z = edge
    marker.color = to_colour(occupancy.class_set.classes[class_id].colour)
    return marker


def cubes_by_class(occupancy: SemanticOccupancy, limit: int) -> dict[int, NDArray[np.float64]]:
    """Centres (n, 3) of the voxels of every class, at most ``limit`` in all, the surest first."""
    cells = shown_cells(occupancy)
    if len(cells) > limit:
        confidence = occupancy.confidence.reshape(-1)[cells]
        surest = np.argpartition(confidence, len(cells) - limit)[len(cells) - limit :]
        cells = np.sort(cells[surest])
    labels = occupancy.labels.reshape(-1)[cells]
    cells = cells[np.argsort(labels, kind="stable")]
    counts = np.bincount(labels, minlength=len(occupancy.class_set))
    centres = occupancy.grid.centres(np.stack(np.unravel_index(cells, occupancy.grid.size), -1))
    parts = np.split(centres, np.cumsum(counts)[:-1])
    return dict(enumerate(parts))


def shown_cells(occupancy: SemanticOccupancy, min_confidence: int = 0) -> NDArray[np.int64]:
    """Flat indices, ascending, of the voxels that hold a class and are at least this sure."""
    shown = occupancy.labels.reshape(-1) < occupancy.class_set.free_id
    if min_confidence > 0:
        shown &= occupancy.confidence.reshape(-1) >= min_confidence
    return np.flatnonzero(shown)


def to_bytes(volume: NDArray[Any]) -> array[int]:
    """A uint8 or bool volume as the flat array that rclpy takes without a look at each element."""
    flat: array[int] = array("B")
    flat.frombytes(np.ascontiguousarray(volume).view(np.uint8).data.cast("B"))
    return flat


@lru_cache(maxsize=4)
def _cell_centres(grid: VoxelGrid) -> tuple[NDArray[np.float32], ...]:
    """x, y and z of all cells, each flat, in cell order."""
    centres = grid.centres().reshape(-1, 3).astype(np.float32)
    return tuple(np.ascontiguousarray(centres[:, axis]) for axis in range(3))


@lru_cache(maxsize=4)
def _packed_colours_of(name: str, colours: bytes) -> NDArray[np.float32]:
    table = np.frombuffer(colours, np.uint8).reshape(256, 3).astype(np.uint32)
    packed = (table[:, 0] << 16 | table[:, 1] << 8 | table[:, 2]).astype(np.uint32)
    return packed.view(np.float32)


def _packed_colours(class_set: ClassSet) -> NDArray[np.float32]:
    """(256,) float32 whose bits are 0x00RRGGBB."""
    return _packed_colours_of(class_set.name, class_set.colours.tobytes())

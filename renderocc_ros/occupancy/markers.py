"""The voxels as rviz markers, plain and as bytes.

The bytes are CDR that numpy lays out: what rclpy would serialise, without a Python object per cube
(40,000 Points cost 70 ms, these bytes 2 ms); ``publish`` takes them. Layout: OMG CDR, little
endian, as rmw writes it: a header of four bytes, then every number at a multiple of its size
counted from the header's end.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.point_cloud import GREY, Unseen, shown_cells
from renderocc_ros.occupancy.ros_messages import to_header
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

LITTLE_ENDIAN_CDR = b"\x00\x01\x00\x00"


def to_markers(
    occupancy: SemanticOccupancy, frame: str, limit: int, unseen: Unseen = "hide"
) -> MarkerArray:
    """One CUBE_LIST per class: namespace "voxels", id the class id, the class's single colour.

    What no camera looks into is one more, grey, with the id of free. A class without voxels gets
    DELETE, so whoever missed a message is right after the next one.

    Args:
        frame: the frame that the grid lies in.
        limit: the most cubes in all; the most confident ones stay.
        unseen: whether voxels that no camera looks into are left out, or grey.
    """
    array_message = MarkerArray()
    for class_id, centres in _cubes_by_class(occupancy, limit, unseen).items():
        marker = _marker(occupancy, frame, class_id, len(centres))
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in centres.tolist()]
        array_message.markers.append(marker)
    return array_message


def to_marker_bytes(
    occupancy: SemanticOccupancy, frame: str, limit: int, unseen: Unseen = "hide"
) -> bytes:
    """The serialised form of :func:`to_markers`."""
    writer = _CdrWriter()
    parts = _cubes_by_class(occupancy, limit, unseen)
    writer.numbers("I", len(parts))
    for class_id, centres in parts.items():
        _write_marker(writer, _marker(occupancy, frame, class_id, len(centres)), centres)
    return writer.serialised()


@lru_cache(maxsize=1)
def is_exact() -> bool:
    """Whether this distribution's Marker has the layout written here; else use the plain form."""
    grid = VoxelGrid((-1.0, 0.5, 0.25), 0.5, (2, 3, 4))
    classes = ClassSet(
        "check", (SemanticClass(0, "a", (1, 2, 3)), SemanticClass(1, "b", (4, 5, 6)))
    )
    labels = np.full(grid.size, classes.free_id, np.uint8)
    labels[0, 1, 2] = labels[1, 2, 3] = 1
    sample = SemanticOccupancy(1_500_000_001, grid, classes, labels, labels)
    try:
        read = deserialize_message(to_marker_bytes(sample, "odd", 9), MarkerArray)
    except Exception:  # the reader of another layout may fail in any way
        return False
    plain = serialize_message(to_markers(sample, "odd", 9))
    return bool(read == deserialize_message(plain, MarkerArray))


class _CdrWriter:
    """Appends values at their alignment."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def numbers(self, format: str, *values: float) -> None:
        """Numbers of one struct format character."""
        packed = struct.pack(f"<{len(values)}{format}", *values)
        self._align(struct.calcsize(format))
        self._append(packed)

    def string(self, text: str) -> None:
        """Length with the closing zero, then the characters."""
        encoded = text.encode() + b"\x00"
        self.numbers("I", len(encoded))
        self._append(encoded)

    def doubles(self, values: NDArray[np.float64]) -> None:
        """A block of doubles, without a length."""
        self._align(8)
        self._append(np.ascontiguousarray(values, "<f8").tobytes())

    def serialised(self) -> bytes:
        """Everything written, with the encapsulation header."""
        return LITTLE_ENDIAN_CDR + b"".join(self._parts)

    def _align(self, size: int) -> None:
        self._append(b"\x00" * (-self._length % size))

    def _append(self, data: bytes) -> None:
        self._parts.append(data)
        self._length += len(data)


def _marker(occupancy: SemanticOccupancy, frame: str, class_id: int, cubes: int) -> Marker:
    """The CUBE_LIST of a class, without its points."""
    marker = Marker(header=to_header(occupancy.stamp_ns, frame), ns="voxels", id=class_id)
    marker.type, marker.action = Marker.CUBE_LIST, Marker.ADD if cubes else Marker.DELETE
    marker.pose.orientation.w = 1.0
    edge = occupancy.grid.resolution_m
    marker.scale.x = marker.scale.y = marker.scale.z = edge
    classes = occupancy.class_set.classes
    colour = classes[class_id].colour if class_id < len(classes) else GREY
    r, g, b = (value / 255.0 for value in colour)
    marker.color = ColorRGBA(r=r, g=g, b=b, a=1.0)
    return marker


def _cubes_by_class(
    occupancy: SemanticOccupancy, limit: int, unseen: Unseen
) -> dict[int, NDArray[np.float64]]:
    """Centres (n, 3) of the voxels of every class, at most ``limit`` in all, the surest first.

    Those that no camera looks into stand under the id of free.
    """
    cells = shown_cells(occupancy, unseen=unseen)
    if len(cells) > limit:
        confidence = occupancy.confidence.reshape(-1)[cells]
        surest = np.argpartition(confidence, len(cells) - limit)[len(cells) - limit :]
        cells = np.sort(cells[surest])
    labels = occupancy.labels.reshape(-1)[cells]
    free_id = occupancy.class_set.free_id
    if occupancy.in_view is not None:
        labels = np.where(occupancy.in_view.reshape(-1)[cells], labels, free_id)
    cells = cells[np.argsort(labels, kind="stable")]
    counts = np.bincount(labels, minlength=free_id + 1)
    centres = occupancy.grid.centres(np.stack(np.unravel_index(cells, occupancy.grid.size), -1))
    parts = np.split(centres, np.cumsum(counts)[:-1])
    return dict(enumerate(parts))


def _write_marker(writer: _CdrWriter, marker: Marker, points: NDArray[np.float64]) -> None:
    stamp, position, turn = marker.header.stamp, marker.pose.position, marker.pose.orientation
    writer.numbers("i", stamp.sec)
    writer.numbers("I", stamp.nanosec)
    writer.string(marker.header.frame_id)
    writer.string(marker.ns)
    writer.numbers("i", marker.id, marker.type, marker.action)
    writer.numbers("d", position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w)
    writer.numbers("d", marker.scale.x, marker.scale.y, marker.scale.z)
    writer.numbers("f", marker.color.r, marker.color.g, marker.color.b, marker.color.a)
    writer.numbers("i", marker.lifetime.sec)
    writer.numbers("I", marker.lifetime.nanosec)
    writer.numbers("B", marker.frame_locked)
    writer.numbers("I", len(points))
    if len(points):
        writer.doubles(points)
    writer.numbers("I", 0)  # colors: none, the marker's single colour holds
    writer.string(marker.texture_resource)
    _write_empty_texture(writer)
    writer.numbers("I", 0)  # uv_coordinates
    writer.string(marker.text)
    writer.string(marker.mesh_resource)
    writer.string(marker.mesh_file.filename)
    writer.numbers("I", 0)  # mesh_file.data
    writer.numbers("B", marker.mesh_use_embedded_materials)


def _write_empty_texture(writer: _CdrWriter) -> None:
    """An empty sensor_msgs/CompressedImage: stamp, frame, format, data."""
    writer.numbers("i", 0)
    writer.numbers("I", 0)
    writer.string("")
    writer.string("")
    writer.numbers("I", 0)

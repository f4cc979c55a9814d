"""Messages of rclpy: how they are made, and the result as a point cloud."""

from __future__ import annotations

from array import array
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

from renderocc_ros.occupancy.messages import NANOSECONDS
from renderocc_ros.occupancy.point_cloud import POINT_DTYPE, Unseen, to_points
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

_FIELD_TYPES = {"f4": PointField.FLOAT32, "u1": PointField.UINT8}
POINT_FIELDS = [
    PointField(name=name, offset=entry[1], datatype=_FIELD_TYPES[entry[0].str[1:]], count=1)
    for name, entry in (POINT_DTYPE.fields or {}).items()
]


def make(message_type: str, **fields: Any) -> Any:
    """A message of rclpy, as ``messages.MakeMessage`` says."""
    return message_class(message_type)(
        **{
            name: to_array(value) if isinstance(value, np.ndarray) else value
            for name, value in fields.items()
        }
    )


def to_array(numbers: NDArray[Any]) -> array[Any]:
    """Numbers in the form that rclpy takes without a look at each of them."""
    flat: array[Any] = array(numbers.dtype.char)
    flat.frombytes(np.ascontiguousarray(numbers).data.cast("B"))
    return flat


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds since the epoch as builtin_interfaces/Time."""
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def to_header(stamp_ns: int, frame: str) -> Header:
    """A header of this acquisition time and frame."""
    return Header(stamp=to_time(stamp_ns), frame_id=frame)


def to_cloud(
    occupancy: SemanticOccupancy, frame: str, min_confidence: int = 0, unseen: Unseen = "hide"
) -> PointCloud2:
    """The occupied voxels as a cloud of x, y, z, rgb, label and confidence (0 to 255).

    Args:
        frame: the frame that the grid lies in.
        min_confidence, unseen: see ``to_points``.
    """
    points = to_points(occupancy, min_confidence, unseen)
    header = to_header(occupancy.stamp_ns, frame)
    return point_cloud2.create_cloud(header, POINT_FIELDS, points, POINT_DTYPE.itemsize)


@cache
def message_class(message_type: str) -> Any:
    """The class of the messages of a type, such as "std_msgs/msg/Header".

    Raises:
        ValueError: its package is not installed.
    """
    package, _, name = message_type.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except ImportError as error:
        apt_name = package.replace("_", "-")
        raise ValueError(
            f"{message_type} needs the package {package}: "
            f"sudo apt install ros-$ROS_DISTRO-{apt_name}"
        ) from error

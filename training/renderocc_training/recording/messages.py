"""Builders of the ROS messages that recordings hold.

Each takes our own types and gives a message of :func:`typestore`; a message knows its type as
``__msgtype__``. Stamps are integer nanoseconds, lengths metres, transforms ``target_from_source``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_training.recording.typestore import typestore

Message = Any

NANOSECONDS = 1_000_000_000
POINT_FIELD_TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
IMAGE_ENCODINGS = {
    "mono8": (np.uint8, 1),
    "mono16": (np.uint16, 1),
    "16UC1": (np.uint16, 1),
    "32FC1": (np.float32, 1),
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
}


def make(message_type: str, **fields: Any) -> Message:
    """A message by its full type name, such as "std_msgs/msg/Header"."""
    return typestore().types[message_type](**fields)


def time(stamp_ns: int) -> Message:
    """builtin_interfaces/Time."""
    seconds, nanoseconds = divmod(stamp_ns, NANOSECONDS)
    return make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)


def header(stamp_ns: int, frame_id: str) -> Message:
    """std_msgs/Header."""
    return make("std_msgs/msg/Header", stamp=time(stamp_ns), frame_id=frame_id)


def point(xyz: ArrayLike) -> Message:
    """geometry_msgs/Point, metres."""
    x, y, z = np.asarray(xyz, dtype=np.float64).tolist()
    return make("geometry_msgs/msg/Point", x=x, y=y, z=z)


def vector(xyz: ArrayLike) -> Message:
    """geometry_msgs/Vector3."""
    x, y, z = np.asarray(xyz, dtype=np.float64).tolist()
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def quaternion(xyzw: ArrayLike) -> Message:
    """geometry_msgs/Quaternion from (x, y, z, w)."""
    x, y, z, w = np.asarray(xyzw, dtype=np.float64).tolist()
    return make("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)


def pose(frame_from_body: RigidTransform) -> Message:
    """geometry_msgs/Pose of a body in a frame."""
    return make(
        "geometry_msgs/msg/Pose",
        position=point(frame_from_body.translation),
        orientation=quaternion(frame_from_body.quaternion_xyzw),
    )


def transform_stamped(
    stamp_ns: int, parent: str, child: str, parent_from_child: RigidTransform
) -> Message:
    """geometry_msgs/TransformStamped."""
    transform = make(
        "geometry_msgs/msg/Transform",
        translation=vector(parent_from_child.translation),
        rotation=quaternion(parent_from_child.quaternion_xyzw),
    )
    return make(
        "geometry_msgs/msg/TransformStamped",
        header=header(stamp_ns, parent),
        child_frame_id=child,
        transform=transform,
    )


def tf(transforms: Iterable[Message]) -> Message:
    """tf2_msgs/TFMessage of :func:`transform_stamped` messages."""
    return make("tf2_msgs/msg/TFMessage", transforms=list(transforms))


def odometry(
    stamp_ns: int,
    odom_frame: str,
    base_frame: str,
    odom_from_base: RigidTransform,
    linear_m_s: ArrayLike,
    angular_rad_s: ArrayLike,
) -> Message:
    """nav_msgs/Odometry; both velocities (3,) are in the base frame, covariances unknown (zero)."""
    twist = make(
        "geometry_msgs/msg/Twist", linear=vector(linear_m_s), angular=vector(angular_rad_s)
    )
    with_covariance = {"covariance": np.zeros(36)}
    return make(
        "nav_msgs/msg/Odometry",
        header=header(stamp_ns, odom_frame),
        child_frame_id=base_frame,
        pose=make(
            "geometry_msgs/msg/PoseWithCovariance", pose=pose(odom_from_base), **with_covariance
        ),
        twist=make("geometry_msgs/msg/TwistWithCovariance", twist=twist, **with_covariance),
    )


def camera_info(stamp_ns: int, frame_id: str, model: CameraModel) -> Message:
    """sensor_msgs/CameraInfo of an image as it is (R identity, P = [K | 0])."""
    distorted = model.distortion_model != "none"
    return make(
        "sensor_msgs/msg/CameraInfo",
        header=header(stamp_ns, frame_id),
        height=model.height,
        width=model.width,
        distortion_model=model.distortion_model if distorted else "plumb_bob",
        d=np.array(model.distortion if distorted else np.zeros(5), dtype=np.float64),
        k=model.intrinsics.ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([model.intrinsics, np.zeros((3, 1))]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        ),
    )


def compressed_image(stamp_ns: int, frame_id: str, data: bytes, format: str = "jpeg") -> Message:
    """sensor_msgs/CompressedImage around an encoded file's bytes ("jpeg" or "png")."""
    return make(
        "sensor_msgs/msg/CompressedImage",
        header=header(stamp_ns, frame_id),
        format=format,
        data=np.frombuffer(data, dtype=np.uint8),
    )


def image(stamp_ns: int, frame_id: str, pixels: NDArray[Any], encoding: str) -> Message:
    """sensor_msgs/Image.

    Args:
        pixels: (H, W) or (H, W, 3) of the encoding's type.
        encoding: mono8, mono16, 16UC1, 32FC1, rgb8 or bgr8.
    """
    if encoding not in IMAGE_ENCODINGS:
        raise ValueError(f"image encoding '{encoding}' is not one of {', '.join(IMAGE_ENCODINGS)}")
    dtype, channels = IMAGE_ENCODINGS[encoding]
    wanted = pixels.shape[:2] + ((channels,) if channels > 1 else ())
    if pixels.dtype != dtype or pixels.shape != wanted:
        raise ValueError(
            f"encoding '{encoding}' takes {np.dtype(dtype)} with {channels} channel(s), "
            f"got {pixels.dtype} {pixels.shape}"
        )
    height, width = pixels.shape[:2]
    return make(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=width * channels * pixels.itemsize,
        data=np.ascontiguousarray(pixels).view(np.uint8).ravel(),
    )


def point_cloud(stamp_ns: int, frame_id: str, points: NDArray[np.void]) -> Message:
    """sensor_msgs/PointCloud2 of a structured array (N,), one field per column.

    Fields are little-endian numbers; x, y, z are metres in ``frame_id``.
    """
    if points.dtype.names is None or points.ndim != 1:
        raise ValueError(f"a cloud is a structured array (N,), got {points.dtype} {points.shape}")
    assert points.dtype.fields is not None
    fields = [
        make(
            "sensor_msgs/msg/PointField",
            name=name,
            offset=points.dtype.fields[name][1],
            datatype=POINT_FIELD_TYPES[points.dtype.fields[name][0].str[1:]],
            count=1,
        )
        for name in points.dtype.names
    ]
    return make(
        "sensor_msgs/msg/PointCloud2",
        header=header(stamp_ns, frame_id),
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.itemsize * len(points),
        data=np.frombuffer(points.tobytes(), dtype=np.uint8),
        is_dense=True,
    )


def colour(rgb: Sequence[int], alpha: float = 1.0) -> Message:
    """std_msgs/ColorRGBA from 0..255 sRGB."""
    red, green, blue = (channel / 255.0 for channel in rgb)
    return make("std_msgs/msg/ColorRGBA", r=red, g=green, b=blue, a=alpha)

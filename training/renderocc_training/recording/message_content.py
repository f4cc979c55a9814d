"""What recorded messages say, in our own types: the way back from ``messages``.

Takes the messages that ``BagReader.decode`` gives, of ROS 2 and of ROS 1.
"""

from __future__ import annotations

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.calibration import camera_model
from renderocc_training.recording.messages import NANOSECONDS, Message

STANDING_M_S = 0.1


def stamp_ns(message: Message) -> int:
    """Acquisition time of a message with a header, nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def pose_of(pose: Message) -> RigidTransform:
    """frame_from_body of a geometry_msgs/Pose."""
    place, turn = pose.position, pose.orientation
    return RigidTransform.from_quaternion(
        (turn.x, turn.y, turn.z, turn.w), (place.x, place.y, place.z)
    )


def transform_of(stamped: Message) -> RigidTransform:
    """parent_from_child of a geometry_msgs/TransformStamped."""
    place, turn = stamped.transform.translation, stamped.transform.rotation
    return RigidTransform.from_quaternion(
        (turn.x, turn.y, turn.z, turn.w), (place.x, place.y, place.z)
    )


def body_pose(message: Message) -> tuple[str, RigidTransform]:
    """Frame of a body, "" if it has none, and frame_from_body: what odometry of any type says.

    Args:
        message: Odometry, PoseStamped, PoseWithCovarianceStamped or TransformStamped.
    """
    if hasattr(message, "transform"):
        return message.child_frame_id.lstrip("/"), transform_of(message)
    pose = message.pose.pose if hasattr(message.pose, "pose") else message.pose
    return getattr(message, "child_frame_id", "").lstrip("/"), pose_of(pose)


def moves_at_zero(message: Message) -> bool:
    """Whether an Odometry says that it moves and stands at zero: it may hold speeds alone."""
    if not hasattr(message, "twist"):
        return False
    place, speed = message.pose.pose.position, message.twist.twist.linear
    speed_m_s = (speed.x**2 + speed.y**2 + speed.z**2) ** 0.5
    return bool(place.x == place.y == place.z == 0 and speed_m_s > STANDING_M_S)


def model_of_info(info: Message, rectified: bool = False) -> CameraModel:
    """The projection that a sensor_msgs/CameraInfo describes, read as the live node reads it.

    Args:
        rectified: the images are rectified: P without distortion instead of K with it.

    Raises:
        ValueError: not calibrated, numbers that are not finite, or an unknown distortion model.
    """
    roi = info.roi
    return camera_model(
        width=info.width,
        height=info.height,
        k=_numbers(info, "k"),
        d=_numbers(info, "d"),
        p=_numbers(info, "p"),
        distortion_model=info.distortion_model,
        binning=(info.binning_x, info.binning_y),
        roi=(roi.x_offset, roi.y_offset, roi.width, roi.height),
        rectified=rectified,
    )


def _numbers(info: Message, name: str) -> tuple[float, ...]:
    """A field of CameraInfo: lower case in ROS 2, upper case in ROS 1."""
    return tuple(getattr(info, name if hasattr(info, name) else name.upper()))

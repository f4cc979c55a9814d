"""Where there is rclpy, all of what the other tests ask about must be there."""

from __future__ import annotations

import importlib

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: ./run sets it up, or source a ROS 2")

NAMES = {
    "cv_bridge": "CvBridge CvBridgeError",
    "message_filters": "SimpleFilter Subscriber Cache TimeSynchronizer ApproximateTimeSynchronizer",
    "nav2_msgs.msg": "VoxelGrid",
    "octomap_msgs.msg": "Octomap",
    "sensor_msgs_py.point_cloud2": "read_points read_points_numpy read_points_list create_cloud",
    "tf2_msgs.action": "LookupTransform",
    "tf2_msgs.msg": "TFMessage TF2Error",
    "tf2_msgs.srv": "FrameGraph",
    "tf2_py": "BufferCore TransformException LookupException",
    "tf2_ros": "Buffer TransformListener TransformBroadcaster StaticTransformBroadcaster "
    "TransformException LookupException ConnectivityException ExtrapolationException "
    "InvalidArgumentException TimeoutException",
    "vision_msgs.msg": "Detection3DArray Detection3D ObjectHypothesisWithPose ObjectHypothesis "
    "BoundingBox3D",
    "tf_transformations": "quaternion_from_euler euler_from_quaternion quaternion_matrix",
}


@pytest.mark.parametrize("package", NAMES)
def test_the_package_has_its_names(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in NAMES[package].split() if not hasattr(module, name)] == []


def test_interfaces_are_those_of_tf2() -> None:
    from tf2_msgs.action import LookupTransform
    from tf2_msgs.msg import TF2Error, TFMessage
    from tf2_msgs.srv import FrameGraph

    assert TFMessage.get_fields_and_field_types() == {
        "transforms": "sequence<geometry_msgs/TransformStamped>"
    }
    assert TF2Error.get_fields_and_field_types() == {"error": "uint8", "error_string": "string"}
    assert (TF2Error.NO_ERROR, TF2Error.EXTRAPOLATION_ERROR, TF2Error.TRANSFORM_ERROR) == (0, 3, 6)
    assert FrameGraph.Response.get_fields_and_field_types() == {"frame_yaml": "string"}
    assert LookupTransform.Goal.get_fields_and_field_types() == {
        "target_frame": "string",
        "source_frame": "string",
        "source_time": "builtin_interfaces/Time",
        "timeout": "builtin_interfaces/Duration",
        "target_time": "builtin_interfaces/Time",
        "fixed_frame": "string",
        "advanced": "boolean",
    }


def test_messages_are_those_of_the_standard_packages() -> None:
    """Field by field as in their repositories: DDS compares the types."""
    from nav2_msgs.msg import VoxelGrid
    from octomap_msgs.msg import Octomap
    from vision_msgs.msg import (
        BoundingBox3D,
        Detection3D,
        Detection3DArray,
        ObjectHypothesis,
        ObjectHypothesisWithPose,
    )

    kinds = (VoxelGrid, Octomap, Detection3DArray, Detection3D, BoundingBox3D)
    kinds += (ObjectHypothesis, ObjectHypothesisWithPose)
    fields = {kind: kind.get_fields_and_field_types() for kind in kinds}
    assert list(fields[VoxelGrid].items()) == [
        ("header", "std_msgs/Header"),
        ("data", "sequence<uint32>"),
        ("origin", "geometry_msgs/Point32"),
        ("resolutions", "geometry_msgs/Vector3"),
        ("size_x", "uint32"),
        ("size_y", "uint32"),
        ("size_z", "uint32"),
    ]
    assert list(fields[Octomap].items()) == [
        ("header", "std_msgs/Header"),
        ("binary", "boolean"),
        ("id", "string"),
        ("resolution", "double"),
        ("data", "sequence<int8>"),
    ]
    assert list(fields[Detection3DArray].items()) == [
        ("header", "std_msgs/Header"),
        ("detections", "sequence<vision_msgs/Detection3D>"),
    ]
    assert list(fields[Detection3D].items()) == [
        ("header", "std_msgs/Header"),
        ("results", "sequence<vision_msgs/ObjectHypothesisWithPose>"),
        ("bbox", "vision_msgs/BoundingBox3D"),
        ("id", "string"),
    ]
    assert list(fields[ObjectHypothesisWithPose].items()) == [
        ("hypothesis", "vision_msgs/ObjectHypothesis"),
        ("pose", "geometry_msgs/PoseWithCovariance"),
    ]
    assert list(fields[ObjectHypothesis].items()) == [("class_id", "string"), ("score", "double")]
    assert list(fields[BoundingBox3D].items()) == [
        ("center", "geometry_msgs/Pose"),
        ("size", "geometry_msgs/Vector3"),
    ]

"""Where there is rclpy, all of what the other tests ask about must be there."""

from __future__ import annotations

import importlib

import pytest

pytest.importorskip("rclpy", reason="needs rclpy: ./run sets it up, or source a ROS 2")

NAMES = {
    "cv_bridge": "CvBridge CvBridgeError",
    "message_filters": "SimpleFilter Subscriber Cache TimeSynchronizer ApproximateTimeSynchronizer",
    "sensor_msgs_py.point_cloud2": "read_points read_points_numpy read_points_list create_cloud",
    "tf2_msgs.action": "LookupTransform",
    "tf2_msgs.msg": "TFMessage TF2Error",
    "tf2_msgs.srv": "FrameGraph",
    "tf2_py": "BufferCore TransformException LookupException",
    "tf2_ros": "Buffer TransformListener TransformBroadcaster StaticTransformBroadcaster "
    "TransformException LookupException ConnectivityException ExtrapolationException "
    "InvalidArgumentException TimeoutException",
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

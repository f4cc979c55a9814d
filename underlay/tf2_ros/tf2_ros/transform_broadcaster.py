"""Publishing of transforms that change with time."""

from collections.abc import Iterable

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

Transforms = TransformStamped | Iterable[TransformStamped]


def as_list(transforms: Transforms) -> list[TransformStamped]:
    """One transform or many, as a list."""
    return list(transforms) if hasattr(transforms, "__iter__") else [transforms]


class TransformBroadcaster:
    """Sends transforms on ``/tf``."""

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        qos = QoSProfile(depth=100) if qos is None else qos
        self.pub_tf = node.create_publisher(TFMessage, "/tf", qos)

    def sendTransform(self, transform: Transforms) -> None:
        """Send one transform or several in one message."""
        self.pub_tf.publish(TFMessage(transforms=as_list(transform)))

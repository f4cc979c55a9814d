"""Publishing of transforms that never change."""

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.transform_broadcaster import Transforms, as_list


class StaticTransformBroadcaster:
    """Sends transforms on ``/tf_static``, latched.

    Every message holds all transforms sent so far, so that a listener which joins late gets them.
    """

    def __init__(self, node: Node, qos: QoSProfile | int | None = None) -> None:
        if qos is None:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(TFMessage, "/tf_static", qos)
        self.net_message = TFMessage()
        self._by_child: dict[str, TransformStamped] = {}

    def sendTransform(self, transform: Transforms) -> None:
        """Add one transform or several, then send all."""
        for one in as_list(transform):
            self._by_child[one.child_frame_id] = one
        self.net_message.transforms = list(self._by_child.values())
        self.pub_tf.publish(self.net_message)

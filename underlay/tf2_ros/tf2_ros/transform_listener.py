"""Filling of a buffer from the transform topics."""

import contextlib
from threading import Thread

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from tf2_ros.buffer import Buffer

DEFAULT_TF_TOPIC = "/tf"
DEFAULT_STATIC_TF_TOPIC = "/tf_static"
AUTHORITY = "default_authority"


class TransformListener:
    """Subscribes `node` to ``/tf`` and ``/tf_static`` and passes all that comes to `buffer`.

    Its callbacks are in a reentrant group of their own, so that another callback of the node may
    wait for a transform. With `spin_thread` a daemon thread spins the **whole** node: give it a
    node of its own, or spin the node yourself and leave it False.
    """

    def __init__(
        self,
        buffer: Buffer,
        node: Node,
        *,
        spin_thread: bool = False,
        qos: QoSProfile | int | None = None,
        static_qos: QoSProfile | int | None = None,
        tf_topic: str = DEFAULT_TF_TOPIC,
        tf_static_topic: str = DEFAULT_STATIC_TF_TOPIC,
    ) -> None:
        if qos is None:
            qos = QoSProfile(depth=100, durability=DurabilityPolicy.VOLATILE)
        if static_qos is None:
            static_qos = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.buffer = buffer
        self.node = node
        self.group = ReentrantCallbackGroup()
        self.tf_sub = node.create_subscription(
            TFMessage, tf_topic, self.callback, qos, callback_group=self.group
        )
        self.tf_static_sub = node.create_subscription(
            TFMessage, tf_static_topic, self.static_callback, static_qos, callback_group=self.group
        )
        if spin_thread:
            self.executor = SingleThreadedExecutor(context=node.context)
            self.dedicated_listener_thread = Thread(
                target=_spin, args=(self.executor, node), name="tf2_listener", daemon=True
            )
            self.dedicated_listener_thread.start()

    def __del__(self) -> None:
        with contextlib.suppress(InvalidHandle):  # where rclpy itself has ended before
            if hasattr(self, "dedicated_listener_thread"):
                self.executor.shutdown()
                self.dedicated_listener_thread.join()
            if hasattr(self, "tf_static_sub"):
                self.unregister()

    def unregister(self) -> None:
        """Stop listening."""
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, data: TFMessage) -> None:
        """Take in transforms that hold at their stamps."""
        for transform in data.transforms:
            self.buffer.set_transform(transform, AUTHORITY)

    def static_callback(self, data: TFMessage) -> None:
        """Take in transforms that hold at all times."""
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, AUTHORITY)


def _spin(executor: SingleThreadedExecutor, node: Node) -> None:
    """Spin until the executor or the context is shut down. Holds no listener, so it can end."""
    executor.add_node(node)
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
    executor.remove_node(node)

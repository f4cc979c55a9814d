"""A topic as the first filter of a chain."""

from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from message_filters.simple_filter import SimpleFilter


class Subscriber(SimpleFilter):
    """Passes on every message of a topic.

    Further keywords (callback_group, event_callbacks, raw …) go to ``node.create_subscription``;
    attributes that it lacks are those of the subscription, ``sub``.
    """

    def __init__(
        self,
        node: Node,
        msg_type: Any,
        topic: str,
        qos_profile: QoSProfile | int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        self.sub = node.create_subscription(msg_type, topic, self.callback, qos_profile, **kwargs)

    def callback(self, msg: Any) -> None:
        """Pass `msg` on."""
        self.signalMessage(msg)

    def getTopic(self) -> str:
        """The topic as it was given, before remapping."""
        return self.topic

    def __getattr__(self, key: str) -> Any:
        if key == "sub":  # not there yet: do not look for it in itself
            raise AttributeError(key)
        return getattr(self.sub, key)

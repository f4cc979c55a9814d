"""QoS: what the user overrides per topic, and what does not fit together."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

# For topics of which the node's own diagnostics tell what does not fit together: the executor looks
# at each of rclpy's default event handlers, two a topic, anew with every message that comes.
NO_SUBSCRIPTION_EVENTS = SubscriptionEventCallbacks(use_default_callbacks=False)
NO_PUBLISHER_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)

# What a user may set of a topic, by the parameters qos_overrides.<topic>.publisher.* and so on.
QOS_OVERRIDES = QoSOverridingOptions(
    (
        QoSPolicyKind.HISTORY,
        QoSPolicyKind.DEPTH,
        QoSPolicyKind.RELIABILITY,
        QoSPolicyKind.DURABILITY,
    )
)


def overridden(node: Any, topic: str, qos: QoSProfile) -> QoSProfile:
    """A subscription's QoS with what the parameters ``qos_overrides.<topic>.subscription.*`` say.

    The parameters have the names that rclpy's own overrides have. Those take the QoS of the first
    subscription for the user's wish, so a topic could not be subscribed to anew with another.

    Raises:
        ValueError: an override is no reliability.
    """
    prefix = f"qos_overrides.{node.resolve_topic_name(topic)}.subscription"
    depth = _read_only(node, f"{prefix}.depth", 0, "messages kept; 0: as 'image_depth' says")
    choices = "reliable or best_effort; empty: as 'image_reliability' says"
    reliability = _read_only(node, f"{prefix}.reliability", "", choices)
    if reliability and reliability.upper() not in ("RELIABLE", "BEST_EFFORT"):
        raise ValueError(f"{prefix}.reliability = '{reliability}': give {choices}")
    return QoSProfile(
        depth=depth or qos.depth,
        reliability=ReliabilityPolicy[reliability.upper()] if reliability else qos.reliability,
    )


def mismatch(offered: QoSProfile, asked: QoSProfile) -> str:
    """Why a subscription gets nothing from a publisher; empty if it does.

    Only what nodes set in practice: DDS lets a subscriber ask for no more than is offered.
    """
    best_effort, volatile = ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE
    if offered.reliability == best_effort and asked.reliability == ReliabilityPolicy.RELIABLE:
        return "reliable is asked for, best_effort is offered"
    if offered.durability == volatile and asked.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        return "transient_local is asked for, volatile is offered"
    return ""


def _read_only(node: Any, name: str, default: Any, description: str) -> Any:
    if not node.has_parameter(name):
        descriptor = ParameterDescriptor(description=description, read_only=True)
        node.declare_parameter(name, default, descriptor)
    return node.get_parameter(name).value

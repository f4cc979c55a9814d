"""The time a message counts for."""

from typing import Any

from rclpy.clock import ROSClock
from rclpy.logging import get_logger
from rclpy.time import Time


def has_stamp(msg: Any) -> bool:
    """Whether the message has a stamped header."""
    return hasattr(msg, "header") and hasattr(msg.header, "stamp")


def stamp_of(msg: Any) -> Time:
    """The header's stamp."""
    stamp = msg.header.stamp
    return stamp if hasattr(stamp, "nanoseconds") else Time.from_msg(stamp)


def stamp_or_arrival(msg: Any, allow_headerless: bool, logger_name: str) -> Time | None:
    """The header's stamp, else the time now if that is allowed, else None with a warning."""
    if has_stamp(msg):
        return stamp_of(msg)
    if allow_headerless:
        return ROSClock().now()
    get_logger(logger_name).warning(
        f"Dropped a {type(msg).__name__}: it has no header.stamp. Construct the filter with "
        "allow_headerless=True to use its time of arrival.",
        throttle_duration_sec=1.0,
    )
    return None

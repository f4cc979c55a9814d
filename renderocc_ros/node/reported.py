"""Lifecycle transitions whose errors are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def reported(transition: Transition) -> Transition:
    """A transition of a node that tells its errors to ``node.failed``; rclpy would swallow them.

    What a user can mend on the way up (a wrong file, a device that is not there) is a failure and
    the node stays in its state; anything else is an error, and the node lets everything go.
    """

    @wraps(transition)
    def told(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        name = transition.__name__.removeprefix("on_")
        try:
            return transition(node, state)
        except Exception as error:
            mendable = isinstance(error, (ValueError, OSError, RuntimeError))
            node.failed(name, str(error) if mendable else f"{type(error).__name__}: {error}")
            if mendable and name in ("configure", "activate"):
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.ERROR

    return told

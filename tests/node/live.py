"""The node as a process of its own, and somebody who listens to it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from renderocc_ros.occupancy.messages import stamp_ns_of

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NETWORK = str(Path(__file__).with_name("tiny_network.yaml"))
PATIENCE_S = 60.0


class Control:
    """Asks a node to change its parameters and its lifecycle state."""

    def __init__(self, node: Any, target: str = "/renderocc") -> None:
        self._parameters = AsyncParameterClient(node, target)
        self._node, self._target = node, target
        self._transitions = node.create_client(ChangeState, f"{target}/change_state")

    def set(self, **values: Any) -> str:
        """Set parameters (``__`` for the dot); returns why it was refused, empty if not."""
        return self.set_all(
            [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        )

    def set_all(self, wanted: list[Parameter]) -> str:
        """Set these, each for itself; returns why it was refused, empty if not."""
        assert self._parameters.wait_for_services(PATIENCE_S)
        results = _result(self._parameters.set_parameters(wanted)).results
        return "; ".join(result.reason for result in results if not result.successful)

    def get(self, name: str) -> Any:
        """The value of a parameter."""
        assert self._parameters.wait_for_services(PATIENCE_S)
        value = _result(self._parameters.get_parameters([name])).values[0]
        return parameter_value_to_python(value)

    def describe(self, names: list[str]) -> list[Any]:
        """The descriptors of parameters."""
        assert self._parameters.wait_for_services(PATIENCE_S)
        return list(_result(self._parameters.describe_parameters(names)).descriptors)

    def change(self, transition: int) -> bool:
        """Run a lifecycle transition; False if it failed."""
        assert self._transitions.wait_for_service(PATIENCE_S)
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(_result(self._transitions.call_async(request)).success)

    def trigger(self, service: str) -> Any:
        """Call a Trigger service of the node; returns its response."""
        client = self._node.create_client(Trigger, f"{self._target}/{service}")
        assert client.wait_for_service(PATIENCE_S)
        response = _result(client.call_async(Trigger.Request()))
        self._node.destroy_client(client)
        return response


def _result(future: Any) -> Any:
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE_S), "no answer to a service call"
    return future.result()


class Listener:
    """Keeps what comes on topics; ``wait`` waits for it.

    Attributes:
        messages: all that came, by topic.
        status: the last diagnostics of each part of each node: name to status.
        heard_ns: when each of its diagnostics came, on the monotonic clock.
        evaluated_ns: when the node evaluated each of its diagnostics, by its own clock.
    """

    def __init__(self, node: Any) -> None:
        self.node = node
        self.messages: dict[str, list[Any]] = {}
        self.status: dict[str, DiagnosticStatus] = {}
        self.evaluated_ns: list[int] = []
        self.heard_ns: list[int] = []
        self._changed = threading.Condition()
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)

    def listen(self, kind: Any, topic: str, qos: Any = 10) -> list[Any]:
        """Subscribe; returns the list that grows."""
        self.messages[topic] = []
        self.node.create_subscription(kind, topic, lambda m: self._keep(topic, m), qos)
        return self.messages[topic]

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
        """Wait until a condition holds and return its value; fails with what was said last."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not (value := condition()):
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    output = {name: status.message for name, status in self.status.items()}
                    raise AssertionError(f"no {what} within {timeout_s} s; diagnostics: {output}")
                self._changed.wait(min(remaining_s, 0.5))
            return value

    def says(self, part: str, message: str, node: str = "/renderocc") -> Callable[[], bool]:
        """A condition: the diagnostics of a part hold these words."""
        return lambda: message in self.message(part, node)

    def message(self, part: str, node: str = "/renderocc") -> str:
        status = self.status.get(_name(node, part))
        return "" if status is None else str(status.message)

    def forget(self, part: str, node: str = "/renderocc") -> None:
        """As if nothing had been said of a part: some are told of only while something is wrong."""
        with self._changed:
            self.status.pop(_name(node, part), None)

    def values(self, part: str, node: str = "/renderocc") -> dict[str, str]:
        status = self.status.get(_name(node, part))
        return {} if status is None else {pair.key: pair.value for pair in status.values}

    def is_ok(self, part: str, node: str = "/renderocc") -> Callable[[], bool]:
        """A condition: the level of a part is OK."""
        name = _name(node, part)
        return lambda: name in self.status and self.status[name].level == DiagnosticStatus.OK

    def _keep(self, topic: str, message: Any) -> None:
        with self._changed:
            self.messages[topic].append(message)
            self._changed.notify_all()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._changed:
            self.heard_ns.append(time.monotonic_ns())
            self.evaluated_ns.append(stamp_ns_of(message.header.stamp))
            self.status.update({status.name: status for status in message.status})
            self._changed.notify_all()


def _name(node: str, part: str) -> str:
    """Of a status, as diagnostic_updater makes it."""
    return f"{node.lstrip('/')}: {part}"


@contextmanager
def ros_node(name: str) -> Iterator[Any]:
    """A node of the test's own, spun in a thread."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        thread.join(10)
        node.destroy_node()
        rclpy.try_shutdown(context=context)


@contextmanager
def occupancy_node(
    *arguments: str, network: str = NETWORK, first: str = "", **parameters: Any
) -> Iterator[subprocess.Popen[str]]:
    """The node in a process of its own; names of parameters with ``__`` for the dot.

    Its self-check is off if nothing else is said: most robots of the tests send pictures of chance.

    Args:
        first: Python that breaks the node's module ``occupancy_node`` before its ``main`` runs.
    """
    program = ["-m", "renderocc_ros.node.occupancy_node"]
    if first:
        module = "from renderocc_ros.node import occupancy_node"
        program = ["-c", f"{module}; {first}; occupancy_node.main()"]
    command = [sys.executable, *program, "--ros-args"]
    for name, value in {
        "network": network,
        "threads": 1,
        "precision": "fp32",
        "self_check__enabled": False,
        **parameters,
    }.items():
        command += ["-p", f"{name.replace('__', '.')}:={_yaml(value)}"]
    process = subprocess.Popen([*command, *arguments], text=True, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
        sys.stderr.write(errors)


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value)

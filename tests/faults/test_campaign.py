"""A part of the faults with every change: named, survived, and over when they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from tests.faults.campaign import Running, running, tried
from tests.faults.catalogue import FAULTS
from tests.faults.fault import Fault, Node

pytestmark = pytest.mark.ros
IN_CI = sorted((fault for fault in FAULTS if fault.in_ci), key=lambda fault: fault.node)


class Nodes:
    """One node at a time, for all faults in a row that ask for one of its kind."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._kind: Node | None = None

    def of(self, kind: Node) -> Running:
        """The node that runs, or another one if that is of another kind or has ended."""
        if kind != self._kind or self._node.process.poll() is not None:
            self.stop()
            self._node = self._stack.enter_context(running(kind, self._folder))
            self._kind = kind
        return self._node

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    nodes = Nodes(tmp_path_factory.mktemp("rigs"))
    yield nodes
    nodes.stop()


@pytest.mark.parametrize("fault", IN_CI, ids=lambda fault: fault.name)
def test_fault_is_named_survived_and_over(nodes: Nodes, fault: Fault) -> None:
    outcome = tried(fault, nodes.of(fault.node), lasts_s=1.0)
    assert outcome.verdict == "ok", outcome

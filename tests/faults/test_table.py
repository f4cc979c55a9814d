"""docs/RELIABILITY.md tells of the faults that are tried, and of no others."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from tests.contracts.checkout import ROOT
from tests.faults.catalogue import FAULTS
from tests.faults.table import in_document

pytestmark = pytest.mark.ros


def test_page_holds_the_table_of_the_catalogue() -> None:
    """`./run bench faults --table docs/RELIABILITY.md` makes it anew."""
    text = (ROOT / "docs" / "RELIABILITY.md").read_text("utf-8")
    assert in_document(text) == text


def test_campaign_has_its_hundred_faults_and_tries_a_third_with_every_change() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 100
    assert 3 * sum(fault.in_ci for fault in FAULTS) >= 100

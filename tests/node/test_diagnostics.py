"""What diagnostics are made of, without a node."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from renderocc_ros.node.diagnostics import ERROR, OK, Changes, Finding
from renderocc_ros.node.statistics import Percentiles

pytestmark = pytest.mark.ros


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_percentiles_are_those_of_numpy(count: int) -> None:
    durations_ms = np.random.default_rng(count).exponential(5.0, count).tolist()
    output = Percentiles.of(durations_ms)
    assert (output.p50, output.p95) == pytest.approx(np.percentile(durations_ms, (50, 95)))


def finding(name: str, level: object, message: str) -> Finding:
    return Finding(name, level, message, {})


def test_each_change_is_told_once() -> None:
    changes = Changes()
    good = [finding("state", OK, "active"), finding("camera a", OK, "10 Hz")]
    silent = [finding("state", ERROR, "no a"), finding("camera a", ERROR, "no a, 0.4 s ago")]
    longer = [finding("state", ERROR, "no a"), finding("camera a", ERROR, "no a, 0.9 s ago")]
    assert changes.of(good) == ([], [])
    assert changes.of(silent) == ([], [])
    assert changes.of(good) == ([], [])  # it was over before it was told
    assert changes.of(silent) == ([], [])
    assert changes.of(longer) == (["no a, 0.9 s ago"], [])
    assert changes.of(longer) == ([], [])
    assert changes.of(good) == ([], ["camera a: ok again"])
    assert changes.of([]) == ([], [])


def test_what_is_no_longer_looked_at_has_not_come_right() -> None:
    changes = Changes()
    silent = [finding("camera a", ERROR, "no a")]
    changes.of(silent)
    assert changes.of(silent) == (["no a"], [])
    assert changes.of([]) == ([], [])  # deactivated


def test_that_no_camera_sends_is_told_in_one_line_and_not_as_a_warning() -> None:
    changes = Changes()
    good = [finding("camera a", OK, "10 Hz"), finding("camera b", OK, "10 Hz")]
    gone = [Finding(f"camera {n}", ERROR, f"nothing of {n}", {}, silent=True) for n in "ab"]
    gone.append(finding("clock", ERROR, "no time came on /clock"))
    gone.append(finding("results", ERROR, "no result for 2.0 s: no camera sends images"))
    assert changes.of(gone) == ([], [])
    assert changes.of(gone) == ([], ["no camera sends images; nothing of a"])
    assert changes.of(gone) == ([], [])
    assert changes.of(good) == ([], ["cameras: ok again"])
    changes.of([good[0], gone[1]])
    assert changes.of([good[0], gone[1]]) == (["nothing of b"], [])

"""The real node for an hour, then fed twice what it can take: memory, counts and latency.

    ./run bench soak --minutes 60

A robot of three JPEG cameras drives; the node runs a tiny network, so that two cores which others
use keep up, and all of its outputs are subscribed to. Afterwards another node runs nano and gets
images at twice the rate that it takes. Progress goes to stderr, one JSON line of all to stdout.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import typer
from _process import cpu_of, cpu_of_others, memory_mb
from nav_msgs.msg import OccupancyGrid
from renderocc_ros.msg import SemanticOccupancy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from renderocc_ros.node.image_messages import peek_header
from tests.faults.campaign import peak_mb
from tests.node import robot as robots
from tests.node.live import LATCHED, NETWORK, Listener, occupancy_node, ros_node

SAMPLE_S = 10.0
REPORT_SAMPLES = 30
KEPT_SETS = 100  # of those that the robot remembers
REST_REPORTS = 4  # of equal counts: nothing is under way any more
# Why a set that was matched may not be published; other reasons tell of cycles that made no set.
AFTER_MATCHING = (
    "newer set came",
    "max_rate_hz",
    "no transform",
    "no CameraInfo",
    "superseded",
    "buffer full",
    "unreadable images",
    "inference error",
)


def main(
    minutes: Annotated[float, typer.Option(help="of the tiny network")] = 60.0,
    rate_hz: Annotated[float, typer.Option(help="sets a second meanwhile")] = 4.0,
    overload_minutes: Annotated[float, typer.Option(help="of nano at twice its rate")] = 5.0,
) -> None:
    """Run and print."""
    result: dict[str, Any] = {"what": "soak"}
    with running(NETWORK, 1 / rate_hz) as scene:
        result |= soaked(scene, minutes * 60)
    if overload_minutes:
        with running("nano", 1.0) as scene:
            service_s = service_time_s(scene)
        with running("nano", service_s / 2) as scene:
            overload = soaked(scene, overload_minutes * 60)
        result["at twice its rate"] = {"service_ms": round(service_s * 1e3, 1), **overload}
    print(json.dumps(result), flush=True)


@dataclass
class Scene:
    """The robot, the node's process, and what came back from it.

    Attributes:
        latencies_ms: from the shutter of the reference camera to the result's arrival.
        backwards: results that came after a newer one.
    """

    robot: robots.Robot
    listener: Listener
    pid: int
    latencies_ms: list[float] = field(default_factory=list)
    newest_ns: int = 0
    backwards: int = 0

    def on_result(self, serialised: bytes) -> None:
        stamp_ns, _ = peek_header(serialised)
        self.latencies_ms.append((time.time_ns() - stamp_ns) * 1e-6)
        self.backwards += stamp_ns <= self.newest_ns
        self.newest_ns = stamp_ns
        del self.robot.sent[:-KEPT_SETS]

    def counts(self, part: str) -> Counter[str]:
        """The whole numbers of a part of the diagnostics."""
        values = self.listener.values(part)
        return Counter({key: int(value) for key, value in values.items() if value.isdigit()})


@contextmanager
def running(network: str, period_s: float) -> Iterator[Scene]:
    """A node that is up, and a robot that drives once all of its images are subscribed to."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        content = robots.rig_content(period_s=period_s, timeout_s=1.5 * period_s)
        rig = robots.write_rig(folder / "rig.yaml", content)
        node = stack.enter_context(ros_node("soak_robot"))
        robot = robots.Robot(node, period_s=period_s)
        process = stack.enter_context(occupancy_node(rig=rig, network=network))
        scene = Scene(robot, Listener(node), process.pid)
        for kind, name in ((PointCloud2, "points"), (MarkerArray, "markers")):
            node.create_subscription(kind, f"/renderocc/{name}", lambda _: None, 2, raw=True)
        node.create_subscription(
            OccupancyGrid, "/renderocc/costmap", lambda _: None, LATCHED, raw=True
        )
        node.create_subscription(
            SemanticOccupancy, "/renderocc/occupancy", scene.on_result, 10, raw=True
        )
        publishers = [camera.images for camera in robot.cameras.values()]
        scene.listener.wait(
            lambda: all(each.get_subscription_count() for each in publishers), "subscribers", 180.0
        )
        stack.enter_context(robot)
        scene.listener.wait(lambda: len(scene.latencies_ms) > 5, "results")
        yield scene


def service_time_s(scene: Scene) -> float:
    """How long the inference thread works on one set, seconds."""
    scene.listener.wait(lambda: len(scene.latencies_ms) > 30, "31 results")
    latency = scene.listener.values("latency")
    return (
        sum(float(latency[f"{part}.p50_ms"]) for part in ("decode", "inference", "publish")) / 1e3
    )


def soaked(scene: Scene, seconds: float) -> dict[str, Any]:
    """Memory, counts and latency over a time; ends with the robot stopped."""
    pause = threading.Event()
    first, started_s, cpu_s = len(scene.latencies_ms), time.monotonic(), cpu_of(scene.pid)
    others_s, samples = cpu_of_others(scene.pid), list[tuple[float, float]]()
    while (passed_s := time.monotonic() - started_s) < seconds:
        samples.append((passed_s / 60, memory_mb(scene.pid)))
        if len(samples) % REPORT_SAMPLES == 1:
            print(
                f"{passed_s:.0f} s: {samples[-1][1]} MB, {len(scene.latencies_ms)} results",
                file=sys.stderr,
                flush=True,
            )
        pause.wait(min(SAMPLE_S, seconds - passed_s))
    others = (cpu_of_others(scene.pid) - others_s) / passed_s
    cpu_s = cpu_of(scene.pid) - cpu_s
    latencies_ms = scene.latencies_ms[first:]
    scene.robot.stop()
    at_rest(scene)
    half = samples[len(samples) // 2 :]
    return {
        "minutes": round(passed_s / 60, 1),
        "rate_hz": round(1 / scene.robot.period_s, 2),
        "cores_used_by_others": round(others, 2),
        "cpu_ms_per_set": round(cpu_s * 1e3 / max(1, len(latencies_ms)), 1),
        "memory_mb": [samples[0][1], half[0][1], samples[-1][1]],
        "peak_memory_mb": peak_mb(scene.pid),
        "memory_slope_second_half_mb_per_min": round(slope(half), 3),
        "latency_ms": {
            name: round(float(np.percentile(latencies_ms, q)), 1)
            for name, q in (("p50", 50), ("p95", 95), ("p99", 99), ("most", 100))
        },
        "results_received": len(scene.latencies_ms),
        "results_behind_a_newer_one": scene.backwards,
        "sets": sets_account(scene.counts("state")),
        "images": {
            name: image_account(scene.robot.cycles, scene.counts(f"camera {name}"))
            for name in robots.NAMES
        },
    }


def at_rest(scene: Scene) -> None:
    """Wait until the counts are the same in several reports."""
    reports = len(scene.listener.evaluated_ns)
    seen: list[Counter[str]] = []

    def still() -> bool:
        nonlocal reports
        if len(scene.listener.evaluated_ns) != reports:
            reports = len(scene.listener.evaluated_ns)
            seen.append(scene.counts("state"))
        last = seen[-REST_REPORTS:]
        return len(last) == REST_REPORTS and all(counts == last[0] for counts in last)

    scene.listener.wait(still, "rest")


def slope(samples: list[tuple[float, float]]) -> float:
    """Least squares, of (time, value)."""
    if len(samples) < 2:
        return 0.0
    times, values = np.array(samples).T
    return float(np.polyfit(times, values, 1)[0])


def sets_account(counts: Counter[str]) -> dict[str, int]:
    """Where all matched sets went: matched = published + dropped, by reason."""
    dropped = {why: counts[f"dropped.{why}"] for why in AFTER_MATCHING if counts[f"dropped.{why}"]}
    matched = counts["sets_complete"] + counts["sets_partial"]
    return {
        "matched": matched,
        "published": counts["sets_published"],
        **{f"dropped: {why}": number for why, number in dropped.items()},
        "unaccounted": matched - counts["sets_published"] - sum(dropped.values()),
    }


def image_account(sent: int, counts: Counter[str]) -> dict[str, int]:
    """Where all images of a camera went: sent = lost by the middleware + received, and so on."""
    dropped = {key: number for key, number in counts.items() if key.startswith("dropped.")}
    received, used, waiting = counts["received"], counts["used"], counts["waiting"]
    return {
        "sent": sent,
        "lost_on_the_way": sent - received,
        "received": received,
        "used": used,
        "waiting": waiting,
        **dropped,
        "unaccounted": received - used - waiting - sum(dropped.values()),
    }


if __name__ == "__main__":
    typer.run(main)

"""Cost and correctness of synchronising six cameras at 12 Hz, per message.

The same messages go through StampMatcher alone, through CameraSynchroniser and through
message_filters' ApproximateTimeSynchronizer (the last two where ROS is there). One JSON object a
line: scenario, what, us_per_message (of CPU), ratio to ApproximateTimeSynchronizer, sets, complete
sets, cycles of which all images came, and sets that mix cycles.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from renderocc_ros.config import CameraConfig, RigConfig, SyncConfig
from renderocc_ros.rig.stamp_matching import StampMatcher

PERIOD_NS = 1_000_000_000 // 12
OFFSETS_MS = {"spread 43 ms": (0, 8, 16, 25, 35, -8), "spread 80 ms": (0, 16, 32, 48, 64, 80)}
CYCLES = 1500
REPEATS = 3
SLOP_S = 0.1
Sets = list[list[Any]]


@dataclass
class Message:
    """A header and the true cycle: all that a synchroniser needs, without DDS."""

    header: Any
    stamp_ns: int
    camera: int
    cycle: int


def messages(offsets_ms: tuple[int, ...], loss: float) -> list[Message]:
    """In order of arrival, 5 to 25 ms after the shutter."""
    draw, out = random.Random(0), []
    for cycle in range(CYCLES):
        for camera, offset in enumerate(offsets_ms):
            jitter = draw.uniform(-1, 1)
            stamp_ns = 10**18 + cycle * PERIOD_NS + int((offset + jitter) * 1e6)
            if draw.random() >= loss:
                stamp = SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
                header = SimpleNamespace(stamp=stamp)
                arrival = stamp_ns + draw.uniform(5e6, 25e6)
                out.append((arrival, Message(header, stamp_ns, camera, cycle)))
    return [message for _, message in sorted(out, key=lambda entry: entry[0])]


def rig(offsets_ms: tuple[int, ...]) -> RigConfig:
    """Six cameras with known offsets."""
    cameras = tuple(
        CameraConfig(name=str(i), image_topic=str(i), offset_ms=offset)
        for i, offset in enumerate(offsets_ms)
    )
    return RigConfig(name="bench", cameras=cameras, sync=SyncConfig(missing="mask"))


def with_matcher(stream: list[Message], offsets_ms: tuple[int, ...]) -> Sets:
    """The matching alone."""
    matcher: StampMatcher[Message] = StampMatcher(rig(offsets_ms))
    out = []
    for message in stream:
        out += matcher.push(str(message.camera), message.stamp_ns, message, message.stamp_ns)
    out += matcher.flush()
    return [[image.item for image in matched.images if image] for matched in out]


def with_synchroniser(stream: list[Message], offsets_ms: tuple[int, ...]) -> Sets:
    """The filter around it."""
    import rclpy
    from message_filters import SimpleFilter

    from renderocc_ros.node.synchroniser import CameraSynchroniser

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("sync_bench", context=context)
    inputs = [SimpleFilter() for _ in offsets_ms]
    named = {str(i): source for i, source in enumerate(inputs)}
    synchroniser = CameraSynchroniser(rig(offsets_ms), named, node)
    out: Sets = []
    synchroniser.registerCallback(lambda m: out.append([i.item for i in m.images if i]))
    feed(inputs, stream)
    node.destroy_node()
    rclpy.shutdown(context=context)
    return out


def with_approximate(stream: list[Message], offsets_ms: tuple[int, ...]) -> Sets:
    """message_filters' own."""
    from message_filters import ApproximateTimeSynchronizer, SimpleFilter
    from rclpy.time import Time

    for message in stream:
        message.header.stamp = Time(nanoseconds=message.stamp_ns).to_msg()
    inputs = [SimpleFilter() for _ in offsets_ms]
    synchroniser = ApproximateTimeSynchronizer(inputs, 10, SLOP_S)
    out: Sets = []
    synchroniser.registerCallback(lambda *images: out.append(list(images)))
    feed(inputs, stream)
    return out


def feed(inputs: list[Any], stream: list[Message]) -> None:
    """Pass every message to its camera's filter, and keep the CPU time that took."""
    started = time.process_time()
    for message in stream:
        inputs[message.camera].signalMessage(message)
    feed.seconds = time.process_time() - started  # type: ignore[attr-defined]


def measure(run: Callable[..., Sets], stream: list[Message], offsets: Any) -> tuple[float, Sets]:
    """CPU microseconds per message, the best of several runs, and the sets."""
    best, sets = float("inf"), []
    for _ in range(REPEATS):
        started = time.process_time()
        sets = run(stream, offsets)
        seconds = time.process_time() - started
        if run is not with_matcher:
            seconds = feed.seconds  # type: ignore[attr-defined]
        best = min(best, seconds / len(stream) * 1e6)
    return best, sets


def main() -> None:
    """Print one line per scenario and synchroniser."""
    try:
        import message_filters  # noqa: F401
        import rclpy  # noqa: F401

        ways = [with_approximate, with_matcher, with_synchroniser]
    except ImportError:
        print("no ROS here: the matching alone", file=sys.stderr)
        ways = [with_matcher]
    for name, offsets in OFFSETS_MS.items():
        for loss in (0.0, 0.05):
            stream = messages(offsets, loss)
            came: dict[int, Counter[int]] = defaultdict(Counter)
            for message in stream:
                came[message.cycle][message.camera] += 1
            base_us = None
            for way in ways:
                us, sets = measure(way, stream, offsets)
                base_us = base_us or us if way is with_approximate else base_us
                print(
                    json.dumps(
                        {
                            "scenario": f"{name}, {loss:.0%} lost",
                            "what": way.__name__.removeprefix("with_"),
                            "us_per_message": round(us, 1),
                            "ratio": round(us / base_us, 2) if base_us else None,
                            "sets": len(sets),
                            "complete": sum(len(images) == len(offsets) for images in sets),
                            "complete_cycles": sum(len(c) == len(offsets) for c in came.values()),
                            "mixed": sum(len({i.cycle for i in images}) > 1 for images in sets),
                        }
                    ),
                    flush=True,
                )


if __name__ == "__main__":
    main()

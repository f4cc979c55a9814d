"""What /diagnostics says: for every camera the exact cause of what is wrong, and all counts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from renderocc_ros.node.camera_input import CameraInput
from renderocc_ros.node.statistics import Percentiles
from renderocc_ros.node.transform_input import TransformInput
from renderocc_ros.rig.stamp_matching import StampMatcher

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LEVELS = (OK, WARN, ERROR)
LOGGED_ELSEWHERE = ("state", "lifecycle", "inference")

# A camera is silent when nothing came for this long and for this many of its own periods.
SILENT_S, SILENT_PERIODS = 0.3, 2.5
# A publisher needs a moment to be discovered after the node has subscribed.
DISCOVERY_S = 0.4


@dataclass(frozen=True)
class Finding:
    """One status: level (of diagnostic_msgs), what is wrong in words, and values to look at."""

    name: str
    level: Any
    message: str
    values: Mapping[str, str]


def camera_finding(
    camera: CameraInput, matcher: StampMatcher[Any], transform_problem: str
) -> Finding:
    """State of one camera of an active node.

    Of its images, received = used + waiting + all that are dropped; 'reused' ones are not counted.

    Args:
        transform_problem: why this camera has no pose; empty if it has one.
    """
    name, counters = camera.config.name, matcher.counters
    offset_ns = matcher.offsets_ns[name]
    level, message = _camera_verdict(camera, transform_problem)
    received, used = counters.received[name], counters.used[name]
    age_s = camera.arrivals.age_s
    values = {
        "image_topic": camera.topic,
        "frame": camera.frame,
        "rate_hz": f"{camera.arrivals.rate_hz:.2f}",
        "age_s": "never" if age_s is None else f"{age_s:.3f}",
        "received": str(camera.arrivals.count),
        "used": str(used),
        "waiting": str(matcher.waiting[name]),
        "matched_percent": f"{100 * used / received:.1f}" if received else "",
        "offset_ms": "" if offset_ns is None else f"{offset_ns / 1e6:.2f}",
        "camera_info": camera.info_problem or ("ok" if camera.model else "missing"),
        "transform": transform_problem or "ok",
    }
    for (dropped_name, reason), count in counters.dropped.items():
        if dropped_name == name:
            values[f"dropped.{reason.value}"] = str(count)
    return Finding(f"camera {name}", level, message, values)


def _camera_verdict(camera: CameraInput, transform_problem: str) -> tuple[Any, str]:
    """The first thing that keeps this camera out of the result."""
    name = camera.config.name
    running_s = time.monotonic() - camera.started_s
    age_s, rate_hz = camera.arrivals.age_s, camera.arrivals.rate_hz
    if age_s is None:
        if running_s < DISCOVERY_S:
            return OK, "waiting for the first image"
        return ERROR, f"camera {name}: {camera.silence()}"
    patience_s = max(SILENT_S, SILENT_PERIODS / rate_hz if rate_hz else 2 * SILENT_S)
    if age_s > patience_s:
        return ERROR, f"camera {name}: {camera.silence()}, last one {age_s:.1f} s ago"
    if camera.info_problem:
        return ERROR, f"camera {name}: {camera.info_problem}"
    if camera.model is None:
        return ERROR, f"camera {name}: {camera.info_silence()}"
    if transform_problem:
        return ERROR, f"camera {name}: {transform_problem}"
    if camera.image_problem:
        return WARN, f"camera {name}: {camera.image_problem}"
    count = camera.publisher_count
    if count > 1:
        return WARN, (
            f"camera {name}: {count} publishers on {camera.topic}: images of different sources "
            "mix; stop one or remap it"
        )
    return OK, f"{rate_hz:.1f} Hz"


class Changes:
    """Tells what began to be wrong and what came right, each once: for the log."""

    def __init__(self) -> None:
        self._wrong: set[str] = set()

    def of(self, findings: Sequence[Finding]) -> tuple[list[str], list[str]]:
        """Words of the parts that became wrong, and of those that came right, since the last call.

        Left out are the whole, which repeats its worst part, and what the node logs when it occurs.
        """
        wrong = {f.name: f for f in findings if f.level != OK and f.name not in LOGGED_ELSEWHERE}
        broken = [f.message for name, f in wrong.items() if name not in self._wrong]
        mended = [f"{name}: ok again" for name in sorted(self._wrong - wrong.keys())]
        self._wrong = set(wrong)
        return broken, mended


def transforms_finding(transforms: TransformInput) -> Finding:
    """What of /tf and /tf_static cannot be, or contradicts itself."""
    wrong = transforms.problems()
    values = {"refused": str(transforms.refused)}
    return Finding("transforms", WARN if wrong else OK, "; ".join(wrong) or "as sent", values)


def latency_finding(percentiles: Mapping[str, Percentiles]) -> Finding:
    """Duration of each stage."""
    values = {}
    for stage, value in percentiles.items():
        values[f"{stage}.p50_ms"] = f"{value.p50:.2f}"
        values[f"{stage}.p95_ms"] = f"{value.p95:.2f}"
    total = percentiles.get("total")
    message = f"last image to results: {total.p50:.0f} ms (p50)" if total else "no set yet"
    return Finding("latency", OK, message, values)


def problem(name: str, message: str) -> Finding:
    """Something that is wrong with the node itself."""
    return Finding(name, ERROR, message, {})


def clock_finding(publishers: int) -> Finding:
    """Simulated time is asked for, and none has come."""
    count = f"{publishers} publisher{'' if publishers == 1 else 's'}"
    return problem(
        "clock",
        f"use_sim_time is true, but no time came on /clock ({count}): play the recording with "
        "--clock, or set use_sim_time: false",
    )


def device_finding(predictor: Predictor) -> Finding:
    """Where the network runs, and its memory there."""
    import torch

    device = predictor.device
    if device.type != "cuda":
        return Finding("device", OK, str(device), {"threads": str(torch.get_num_threads())})
    free, total = torch.cuda.mem_get_info(device)
    values = {
        "name": torch.cuda.get_device_name(device),
        "allocated_mb": f"{torch.cuda.memory_allocated(device) / 2**20:.0f}",
        "reserved_mb": f"{torch.cuda.memory_reserved(device) / 2**20:.0f}",
        "free_mb": f"{free / 2**20:.0f}",
        "total_mb": f"{total / 2**20:.0f}",
    }
    return Finding("device", OK, str(device), values)


def overall(state: str, findings: Sequence[Finding], counts: Mapping[str, int]) -> Finding:
    """The node as a whole: as bad as its worst part, with that part's words; and all counts."""
    values = {"lifecycle": state} | {name: str(n) for name, n in sorted(counts.items())}
    worst = max(findings, key=lambda finding: LEVELS.index(finding.level), default=None)
    if worst is None or worst.level == OK:
        return Finding("state", OK, state, values)
    return Finding("state", worst.level, worst.message, values)


def to_message(
    findings: Sequence[Finding], node_name: str, hardware_id: str, stamp: Any
) -> DiagnosticArray:
    """All findings, named ``<node>: <part>`` as diagnostic_updater does it.

    Args:
        node_name: with its namespace, without a leading slash.
    """
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [
        DiagnosticStatus(
            level=finding.level,
            name=f"{node_name}: {finding.name}",
            message=finding.message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in finding.values.items()],
        )
        for finding in findings
    ]
    return message

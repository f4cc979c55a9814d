"""What /diagnostics says: for every camera the exact cause of what is wrong, and all counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from renderocc_ros.node.camera_input import CameraInput
from renderocc_ros.node.statistics import Percentiles
from renderocc_ros.node.transform_input import TransformInput
from renderocc_ros.rig.self_check import CameraHealth
from renderocc_ros.rig.stamp_matching import StampMatcher

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
LEVELS = (OK, WARN, ERROR)
ALL_CAMERAS = "cameras"
LOGGED_ELSEWHERE = ("state", "lifecycle", "inference")


@dataclass(frozen=True)
class Finding:
    """One status.

    Attributes:
        level: of diagnostic_msgs.
        message: what is wrong.
        values: to look at.
        silent: a camera of which nothing comes.
    """

    name: str
    level: Any
    message: str
    values: Mapping[str, str]
    silent: bool = False


def camera_finding(
    camera: CameraInput,
    matcher: StampMatcher[Any],
    transform_problem: str,
    unused: str,
    oddity: str,
    health: CameraHealth,
    blind_s: float,
) -> Finding:
    """State of one camera of an active node.

    Of its images, received = used + waiting + all that are dropped; 'reused' ones are not counted.

    Args:
        transform_problem: why this camera has no pose; empty if it has one.
        unused: why none of its images is used; empty if some are.
        oddity: what is odd about its images; empty if nothing is.
        health: what the self-check says of it.
        blind_s: for how long this process could not look.
    """
    name, counters = camera.config.name, matcher.counters
    offset_ns = matcher.offsets_ns[name]
    odd = "; ".join(
        filter(None, (unused, camera.watch.stamp_problem() or oddity or health.suspicion))
    )
    level, message = _camera_verdict(camera, transform_problem, blind_s)
    if level == OK and odd:
        level, message = (ERROR if unused else WARN), f"camera {name}: {odd}"
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
        **_health_values(health),
    }
    for (dropped_name, reason), count in counters.dropped.items():
        if dropped_name == name:
            values[f"dropped.{reason.value}"] = str(count)
    return Finding(f"camera {name}", level, message, values, camera.is_silent(blind_s))


def _health_values(health: CameraHealth) -> dict[str, str]:
    """Empty where nothing is known yet."""
    turn = ", ".join(f"{degrees:+.1f}" for degrees in health.turn_deg)
    values = {
        "fit_percent": f"{100 * health.fit:.0f}",
        "turned_deg": f"{turn} about x, y, z; known in {health.directions} of 3 directions",
        "still_percent": f"{health.still_percent:.0f}",
        "range_error_percent": f"{100 * health.range_error:.0f}",
        "overlap_percent": f"{100 * health.overlap:.0f}",
    }
    looks = {
        "looks": str(health.looks),
        "neighbour_looks": str(health.neighbour_looks),
        "range_looks": str(health.range_looks),
    }
    known = health.looks or health.neighbour_looks or health.range_looks
    shown = {key: "" if text == "nan" or not known else text for key, text in values.items()}
    return {f"self_check.{key}": text for key, text in {**looks, **shown}.items()}


def _camera_verdict(camera: CameraInput, transform_problem: str, blind_s: float) -> tuple[Any, str]:
    """The first thing that keeps this camera out of the result."""
    name = camera.config.name
    age_s, rate_hz = camera.arrivals.age_s, camera.arrivals.rate_hz
    if age_s is None:
        if not camera.is_silent(blind_s):
            return OK, "waiting for the first image"
        return ERROR, f"camera {name}: {camera.silence()}"
    if camera.is_silent(blind_s):
        return ERROR, f"camera {name}: {camera.silence()}, last one {age_s:.1f} s ago"
    if camera.info_problem:
        return ERROR, f"camera {name}: {camera.info_problem}"
    if camera.model is None:
        return ERROR, f"camera {name}: {camera.info_silence()}"
    if transform_problem:
        return ERROR, f"camera {name}: {transform_problem}"
    if camera.image_problem:
        return WARN, f"camera {name}: {camera.image_problem}"
    if camera.model_alternates:
        return WARN, (
            f"camera {name}: the calibration on {camera.info_topic} keeps changing: two sources "
            "send it; stop one or remap it"
        )
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
        self._suspect: set[str] = set()
        self._told: set[str] = set()

    def of(self, findings: Sequence[Finding]) -> tuple[list[str], list[str]]:
        """What became wrong, as warnings; and what came right, or was to be expected, to inform.

        What is wrong in two calls one after another is told. That no camera sends is told as one
        and is no warning: so it is before a robot starts and after it has stopped. Left out are the
        whole, which repeats its worst part, and what the node logs when it occurs.
        """
        wrong = {f.name: f.message for f in findings if f.level != OK}
        names = {finding.name for finding in findings}
        cameras = [finding for finding in findings if finding.name.startswith("camera ")]
        if cameras:
            names.add(ALL_CAMERAS)
        if cameras and all(camera.silent for camera in cameras):
            wrong = {name: text for name, text in wrong.items() if not name.startswith("camera ")}
            wrong.pop("clock", None)  # it stands, or has not begun, as well
            wrong.pop("results", None)
            wrong[ALL_CAMERAS] = f"no camera sends images; {cameras[0].message}"
        for name in LOGGED_ELSEWHERE:
            wrong.pop(name, None)
        new = [name for name in wrong if name in self._suspect and name not in self._told]
        mended = sorted(self._told & names - wrong.keys())
        self._suspect, self._told = set(wrong), (self._told & wrong.keys()) | set(new)
        informed = [wrong[name] for name in new if name == ALL_CAMERAS]
        return (
            [wrong[name] for name in new if name != ALL_CAMERAS],
            [*informed, *(f"{name}: ok again" for name in mended)],
        )


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


def standing_clock_finding(now_ns: int, seconds: float) -> Finding:
    """Simulated time does not go on."""
    return Finding(
        "clock",
        WARN,
        f"/clock has stood at {now_ns * 1e-9:.3f} s for {seconds:.1f} s: the simulation or the "
        "player is paused, or it has ended",
        {},
    )


def two_clocks_finding(publishers: int) -> Finding:
    """Simulated time comes from several sources."""
    return Finding(
        "clock",
        WARN,
        f"{publishers} publishers on /clock: their times mix, and time goes back again and again; "
        "stop one",
        {},
    )


def twins_finding(name: str, count: int) -> Finding:
    """Other nodes have this one's name."""
    return Finding(
        "name",
        WARN,
        f"{count} nodes are called {name}: their topics and services mix; stop one, or start it "
        "with node_name:= another",
        {},
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

"""Faults, one after another, on a running node: what it says, publishes and needs to recover."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderocc_ros.msg import SemanticOccupancy

from renderocc_ros.occupancy.messages import stamp_ns_of
from tests.faults.checker import Checker, Verdict
from tests.faults.clock import ClockTalker
from tests.faults.fault import ALL, ANSWER, Fault, Node, Outcome
from tests.node import robot as robots
from tests.node.live import Control, Listener, occupancy_node, ros_node
from tests.node.scene import DIAGNOSTICS_PERIOD_S, NAMED_S, Scene, late_s

RECOVERED_S = 2.0
LASTS_S, ANSWER_LASTS_S = 2.0, 0.3  # a fault, after it has been named
GIVE_UP_S = 10.0
START_S = 60.0
SETTLED_NS = 300_000_000
UNDER_WAY = 1  # sets, when a fault begins and ends
STARVED_S = 0.5  # a machine that is so late makes cameras silent
RESULTS_STOP_S = 1.0  # for so long they must have stopped
NOT_ACTIVE = ("state", "lifecycle")  # parts that tell of a node that is to give no results
GROWN_MB = 300.0  # bounded: what a message claims to need is gigabytes


@dataclass
class Running:
    """A robot, the node, and what checks its results."""

    scene: Scene
    process: subprocess.Popen[str]
    checker: Checker


@contextmanager
def running(kind: Node, folder: Path) -> Iterator[Running]:
    """All well: the node publishes results of all cameras."""
    content = robots.rig_content()
    for camera in content["cameras"]:
        camera["compressed"] = kind != "raw"
    rig = robots.write_rig(folder / f"{kind}.yaml", content)
    with ExitStack() as stack:
        node = stack.enter_context(ros_node("broken_robot"))
        listener = Listener(node)
        results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
        robot = stack.enter_context(robots.Robot(node, compressed=kind != "raw"))
        clock = stack.enter_context(ClockTalker(node, robot)) if kind == "clock" else None
        process = stack.enter_context(occupancy_node(rig=rig, use_sim_time=kind == "clock"))
        scene = Scene(robot, listener, Control(node), results, clock)
        listener.wait(is_well(scene, 0), "results", START_S)
        yield Running(scene, process, Checker(robot.start_ns))


def is_well(scene: Scene, since_ns: int) -> Callable[[], bool]:
    """A condition: the node says that all is well, after a result of all cameras."""
    recovered = recovered_at(scene, since_ns)
    return lambda: bool(recovered()) and scene.listener.is_ok("state")()


def recovered_at(scene: Scene, since_ns: int) -> Callable[[], bool]:
    """A condition: a result of all cameras, stamped later than this."""

    def recovered() -> bool:
        return any(
            tuple(message.cameras_used) == ALL and stamp_ns_of(message.header.stamp) > since_ns
            for message in scene.results[-20:]
        )

    return recovered


def tried(fault: Fault, on: Running, lasts_s: float = LASTS_S) -> Outcome:
    """Let one thing go wrong, for so long after it has been named, and see."""
    scene, listener, robot = on.scene, on.scene.listener, on.scene.robot
    outcome = Outcome(fault.name, ", ".join(fault.says) or "none")
    del scene.results[:], robot.sent[:-3]
    listener.forget(fault.part)
    listener.forget("results")
    forget_peak(on.process.pid)
    before_mb = peak_mb(on.process.pid)
    reports, started_s = len(listener.heard_ns) - 1, time.monotonic()
    first = len(robot.sent)
    with fault.happens(scene) as answer:
        named = _naming(fault, scene, answer)
        if _within(scene, named, GIVE_UP_S) and fault.part:
            outcome.named_s = time.monotonic() - started_s
        outcome.said = answer or listener.message(fault.part)
        if _stops_results(fault) and _within(
            scene, listener.says("results", "no result for"), GIVE_UP_S
        ):
            outcome.no_result_s = time.monotonic() - started_s
        cycles = len(robot.sent) + round(
            (ANSWER_LASTS_S if fault.part == ANSWER else lasts_s) / robots.PERIOD_S
        )
        _within(scene, lambda: len(robot.sent) >= cycles, GIVE_UP_S)
        outcome.false_alarms = _false_alarms(fault, scene)
    robot.heal()
    ended_s, ended_ns = time.monotonic(), robot.sent[-1].stamp_ns
    used = [set(message.cameras_used) for message in list(scene.results)]
    outcome.published = sum(set(fault.used) <= each for each in used)
    outcome.expected = len(robot.sent) - first
    if _within(scene, recovered_at(scene, ended_ns), GIVE_UP_S):
        outcome.recovered_s = time.monotonic() - ended_s
        if _within(scene, listener.is_ok("state"), GIVE_UP_S):
            outcome.cleared_s = time.monotonic() - ended_s
    outcome.died = on.process.poll() is not None
    outcome.peak_mb = 0.0 if outcome.died else peak_mb(on.process.pid)
    outcome.grown_mb = outcome.peak_mb - before_mb
    outcome.late_s = _late_s(scene, reports)
    _check_results(outcome, on, ended_ns + SETTLED_NS)
    outcome.problems = list(_problems(fault, outcome))
    return outcome


def _stops_results(fault: Fault) -> bool:
    """Whether an active node is to say that no results come."""
    return not fault.used and fault.part not in NOT_ACTIVE


def _within(scene: Scene, condition: Callable[[], Any], seconds: float) -> bool:
    try:
        scene.listener.wait(condition, "", seconds)
    except AssertionError:
        return False
    return True


def _naming(fault: Fault, scene: Scene, answer: str | None) -> Callable[[], bool]:
    def named() -> bool:
        text = answer if fault.part == ANSWER else scene.listener.message(fault.part)
        return all(word in (text or "") for word in fault.says)

    return named if fault.part else lambda: True


def _false_alarms(fault: Fault, scene: Scene) -> list[str]:
    """What else is said: of all where nothing is wrong, else of the cameras that are well."""
    parts = [f"camera {name}" for name in fault.used if f"camera {name}" != fault.part]
    parts += [] if fault.part else ["state"]
    return [scene.listener.message(part) for part in parts if not scene.listener.is_ok(part)()]


def _late_s(scene: Scene, reports: int) -> float:
    """What this machine was late with its own regular work."""
    heard_ns = scene.listener.heard_ns[reports:]
    cycles_ns = [round(cycle.at_s * 1e9) for cycle in scene.robot.sent]
    late = late_s(heard_ns, DIAGNOSTICS_PERIOD_S) + late_s(cycles_ns, scene.robot.period_s)
    return late + float(scene.listener.values("latency").get("total.p95_ms", 0)) * 1e-3


def _check_results(outcome: Outcome, on: Running, settled_ns: int) -> None:
    """All that came from the beginning of the fault to after its end.

    Args:
        settled_ns: from this stamp on nothing is left of the fault.
    """
    messages, sent = list(on.scene.results), list(on.scene.robot.sent)
    stamps_ns = [stamp_ns_of(message.header.stamp) for message in messages]
    outcome.stale = sum(after <= before for before, after in itertools.pairwise(stamps_ns))
    verdicts = [on.checker.verdict(message, sent) for message in messages]
    outcome.mixed = verdicts.count(Verdict.MIXED)
    outcome.wrong = verdicts.count(Verdict.WRONG)
    outcome.wrong_after = sum(
        verdict is not Verdict.RIGHT
        for verdict, stamp_ns in zip(verdicts, stamps_ns, strict=True)
        if stamp_ns > settled_ns
    )


def _problems(fault: Fault, outcome: Outcome) -> Iterator[str]:
    if outcome.died:
        yield "the node has ended"
        return
    slack_s = outcome.late_s + DIAGNOSTICS_PERIOD_S
    if fault.part and outcome.named_s is None:
        yield "not named"
    elif fault.part and float(outcome.named_s or 0) > NAMED_S + fault.shows_after_s + slack_s:
        yield f"named after {outcome.named_s:.1f} s"
    if _stops_results(fault):
        told_s = outcome.no_result_s
        if told_s is None or told_s > NAMED_S + RESULTS_STOP_S + slack_s:
            yield f"that results have stopped is told after {told_s} s"
    if outcome.recovered_s is None:
        yield "no results after it"
    elif outcome.recovered_s > RECOVERED_S + outcome.late_s:
        yield f"recovered after {outcome.recovered_s:.1f} s"
    elif outcome.cleared_s is None:
        yield "never said to be well again"
    elif outcome.cleared_s > RECOVERED_S + slack_s:
        yield f"said to be well again after {outcome.cleared_s:.1f} s"
    fewest = fault.least * outcome.expected - outcome.late_s / robots.PERIOD_S - UNDER_WAY
    if fault.used and outcome.published < fewest:
        yield f"{outcome.published} of {outcome.expected} published"
    if outcome.wrong and not fault.own_poses:
        yield f"{outcome.wrong} wrong poses"
    if outcome.wrong_after:
        yield f"{outcome.wrong_after} wrong results after it"
    if outcome.mixed and not fault.own_mixing:
        yield f"{outcome.mixed} mixed sets"
    if outcome.stale > fault.goes_back:
        yield f"{outcome.stale} stale stamps"
    for text in outcome.false_alarms if outcome.late_s < STARVED_S else ():
        yield f"said without need: {text}"
    if outcome.grown_mb > GROWN_MB:
        yield f"memory grew by {outcome.grown_mb:.0f} MB"


def campaign(faults: Iterable[Fault], folder: Path) -> Iterator[tuple[Fault, Outcome]]:
    """Each fault on the node that it asks for; a fresh one after a death or what did not heal."""
    for kind, group in itertools.groupby(sorted(faults, key=lambda f: f.node), lambda f: f.node):
        waiting = list(group)
        while waiting:
            with running(kind, folder) as on:
                while waiting:
                    fault = waiting.pop(0)
                    outcome = tried(fault, on)
                    yield fault, outcome
                    if outcome.died or outcome.cleared_s is None:
                        break


def forget_peak(pid: int) -> None:
    """The peak begins anew at what is resident now (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid: int) -> float:
    """The most resident memory since then."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10, 1)

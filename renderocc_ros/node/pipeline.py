"""What exists only while the node is active: its inputs, and the thread that works on sets."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock, ClockType

from renderocc_ros.config import RigConfig
from renderocc_ros.node.camera_input import ArrivedImage, CameraInput
from renderocc_ros.node.diagnostics import OK, Finding, problem
from renderocc_ros.node.inputs import Inputs, PosedSet
from renderocc_ros.node.outputs import Outputs
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.node.set_processor import SetProcessor
from renderocc_ros.node.statistics import Counters, StageTimes
from renderocc_ros.node.worker import NewestFirstWorker
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.range_check import RangeSources
from renderocc_ros.rig.self_check import SelfCheck

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

# A set, and who works on it: cameras that come into use or go out of it get another processor.
Job = tuple[SetProcessor, PosedSet]

SETTLED_S = 0.5  # parameters that change faster have the cameras subscribed to anew only once
STALL_S = 1.0  # without a result
PAUSE_FACTOR = 3.0  # times the usual duration of a set: a network may need longer
START_S = 3.0  # until the first result: rate and offsets of the cameras are learned


class Pipeline:
    """From image messages to published results.

    Args:
        node: the rclpy node; messages come in its executor's thread.
        rig: all cameras of the robot.
        predictor: the network; used in the inference thread alone.
        outputs: publishes the results.
    """

    def __init__(
        self,
        node: Any,
        rig: RigConfig,
        predictor: Predictor,
        outputs: Outputs,
        parameters: NodeParameters,
        times: StageTimes,
        counters: Counters,
    ) -> None:
        self._node, self._rig, self._predictor, self._outputs = node, rig, predictor, outputs
        self._settings, self._times, self._counters = parameters, times, counters
        self._problem = ""  # with the last set
        self._check = SelfCheck()
        self._to_check: CameraSet | None = None
        self._reset_wanted = False
        self._last_start_s = float("-inf")
        self._last_counts = Counter(counters.snapshot())  # when the last result came
        self._grace_s = START_S
        self._last_result_s = self._result_seen_s = time.monotonic()
        self._result_due_s = self._last_result_s + START_S
        self._reopen_timer = node.create_timer(
            SETTLED_S,
            self._reopen,
            autostart=False,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._worker = NewestFirstWorker(self._process, self._on_superseded, self._on_error)
        self._open_inputs()

    def change(self, parameters: NodeParameters, reopen: bool) -> None:
        """Go on with other parameters; ``reopen`` to subscribe to the cameras anew."""
        self._settings = parameters
        if reopen and time.monotonic() - self._opened_s > SETTLED_S:
            self._reopen()
        elif reopen:  # one of many changes: when they have ended
            self._reopen_timer.reset()

    def reset(self) -> None:
        """Forget past frames before the next set."""
        self._reset_wanted = True

    def findings(self, blind_s: float) -> list[Finding]:
        """The state of every camera, whether results come, and what was wrong with the last set.

        Args:
            blind_s: for how long this process could not look.
        """
        failed = [problem("inference", self._problem)] if self._problem else []
        health = self._check.health if self._settings.self_check_enabled else {}
        cameras = self._inputs.findings(blind_s, health)
        return [*failed, *cameras, self._results_finding(blind_s)]

    def _results_finding(self, blind_s: float) -> Finding:
        """Whether results come, and if not, what holds them up."""
        now_s, counts = time.monotonic(), Counter(self._counters.snapshot()) + self.sets_dropped()
        if self._last_result_s != self._result_seen_s:
            self._result_seen_s = self._last_result_s
            self._last_counts, self._grace_s = counts, STALL_S
            self._result_due_s = self._last_result_s + self._longest_pause_s()
        pause_s = now_s - self._last_result_s
        ages_s = [camera.arrivals.age_s for camera in self._inputs.cameras.values()]
        if not any(age_s is not None and age_s < STALL_S + blind_s for age_s in ages_s):
            self._result_due_s = max(self._result_due_s, now_s + self._grace_s)
            if pause_s > max(self._grace_s, self._longest_pause_s()) + blind_s:
                return _no_result(pause_s, "no camera sends images")
        if now_s < self._result_due_s + blind_s:
            return Finding("results", OK, "as images come", {})
        name, seconds = self._times.running
        if seconds > STALL_S / 2:
            why = f"'{name}' has been running for {seconds:.1f} s"
        else:
            grown = counts - self._last_counts
            why = self._inputs.obstacle() or "; ".join(
                f"{number} sets {reason}"
                for reason, number in grown.most_common()
                if reason.startswith("dropped.")
            )
        return _no_result(pause_s, why or "no set is matched")

    def _longest_pause_s(self) -> float:
        """How long after one result the next may come."""
        usual_s = PAUSE_FACTOR * self._times.median_ms("total") * 1e-3
        rate_hz = self._settings.max_rate_hz
        return max(STALL_S, usual_s, 1.5 / rate_hz if rate_hz else 0.0)

    def sets_dropped(self) -> Counter[str]:
        """Sets that the present inputs have dropped; those of earlier ones are counted already."""
        return Counter({f"dropped.{why}": n for why, n in self._inputs.sets_dropped.items()})

    def close(self, timeout_s: float) -> bool:
        """Unsubscribe and end after the set in hand; False if that takes longer."""
        self._node.destroy_timer(self._reopen_timer)
        self._close_inputs()
        ended = self._worker.stop(timeout_s)
        self._processor.close()
        return ended

    def _reopen(self) -> None:
        self._reopen_timer.cancel()
        self._close_inputs()
        self._open_inputs()

    def _open_inputs(self) -> None:
        self._opened_s = time.monotonic()
        # A processor that is replaced ends with the sets that it was given, which hold it.
        self._inputs = Inputs(
            self._node,
            self._rig,
            self._settings,
            self._on_image,
            self._on_set,
            self._on_time_jump,
            self._times,
            self._counters,
        )
        self._processor = SetProcessor(
            self._predictor,
            self._rig.names,
            self._inputs.cameras,
            self._publish,
            self._times,
            self._counters,
        )

    def _close_inputs(self) -> None:
        for reason, number in self.sets_dropped().items():
            self._counters.add(reason, number)
        self._inputs.destroy()

    # ------------------------------------------------------------------- in the executor's thread

    def _on_image(self, camera: CameraInput, image: ArrivedImage) -> None:
        if self._worker.is_idle and not self._settings.max_rate_hz:
            self._processor.prefetch(camera, image)

    def _on_set(self, posed: PosedSet) -> None:
        rate_hz = self._settings.max_rate_hz
        if rate_hz > 0 and posed.ready_s - self._last_start_s < 0.98 / rate_hz:
            self._counters.add("dropped.max_rate_hz")
            return
        self._last_start_s = posed.ready_s
        self._worker.submit((self._processor, posed))

    def _on_superseded(self, job: Job) -> None:
        self._counters.add("dropped.newer set came")

    def _on_time_jump(self) -> None:
        self._node.get_logger().warning("time went back: starting anew", throttle_duration_sec=5.0)
        self._reset_wanted = True

    # -------------------------------------------------------------------- in the inference thread

    def _process(self, job: Job) -> None:
        processor, posed = job
        if self._reset_wanted:
            self._reset_wanted = False
            self._predictor.reset()
            self._outputs.map.reset()
            self._check.reset()
        processor.process(posed, self._settings.threshold)
        self._problem = ""
        self._check_cameras()

    def _check_cameras(self) -> None:
        """The self-check of the set that was published; whatever it does, results go on."""
        cameras, self._to_check = self._to_check, None
        if not self._settings.self_check_enabled:
            self._check.reset()
        elif cameras is not None:
            try:
                with self._times.stage("self-check"):
                    self._look(cameras)
            except Exception as error:
                self._counters.add("self_check_errors")
                self._check.reset()
                self._node.get_logger().error(
                    f"self-check: {type(error).__name__}: {error}", throttle_duration_sec=5.0
                )

    def _look(self, cameras: CameraSet) -> None:
        points, still_percent = self._inputs.points, self._settings.self_check_still_percent
        seen = self._predictor.seen_depth(cameras)
        if points is not None and not seen:
            points.problem = (
                "it cannot be compared, since an exported or official network does not tell its "
                "depth: give a .safetensors checkpoint, or leave self_check.points_topic empty"
            )
        sources = RangeSources(seen, self._predictor.see)
        if points is not None:
            sources = replace(sources, points_near=points.near)
        self._check.look(cameras, still_percent, sources)

    def _publish(self, occupancy: SemanticOccupancy, cameras: CameraSet, posed: PosedSet) -> None:
        frames = {name: image.frame for name, image in posed.images.items()}
        self._outputs.publish(
            occupancy, self._predictor, cameras, frames, self._settings, posed.last_arrival_s
        )
        self._last_result_s = time.monotonic()
        self._to_check = cameras

    def _on_error(self, job: Job, error: Exception) -> None:
        if not self._node.context.ok():  # the process is ending: nothing can be published any more
            return
        self._counters.add("dropped.inference error")
        self._problem = f"inference failed: {type(error).__name__}: {error}"
        self._node.get_logger().error(self._problem, throttle_duration_sec=5.0)


def _no_result(seconds: float, why: str) -> Finding:
    return problem("results", f"no result for {seconds:.1f} s: {why}")

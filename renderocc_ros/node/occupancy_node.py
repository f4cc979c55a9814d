"""The live node: its lifecycle, parameters, services and diagnostics.

How images become voxels while it is active is told in ``pipeline``.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from renderocc_ros.config import RigConfig, load_rig
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.node import diagnostics, parameters
from renderocc_ros.node.inputs import rig_in_use
from renderocc_ros.node.model_loading import load_predictor, release_memory, warm_up
from renderocc_ros.node.outputs import Outputs
from renderocc_ros.node.outputs import check as check_outputs
from renderocc_ros.node.parameters import Change
from renderocc_ros.node.pipeline import Pipeline
from renderocc_ros.node.process import remove_stale_segments, run_until_signalled
from renderocc_ros.node.qos import NO_PUBLISHER_EVENTS
from renderocc_ros.node.statistics import Counters, StageTimes
from renderocc_ros.paths import shipped_weights

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

SUCCESS = TransitionCallbackReturn.SUCCESS
STOP_S = 0.6  # an inference that takes longer is left behind at the end of the process
DEACTIVATE_S = 10.0  # and is waited for so long on deactivate, which is to give its memory back

CLOCK_STANDS_S = 0.75  # by what each diagnostics see of it
CALLBACK_ERROR_S = 1.5  # so long it is told

LifecycleCallback = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def report_errors(callback: LifecycleCallback) -> LifecycleCallback:
    """A lifecycle callback whose errors go to the node's ``failed``; rclpy would swallow them.

    What a user can mend on the way up (a wrong file, a device that is not there) is a failure and
    the node stays in its state; anything else is an error, and the node lets everything go.
    """

    @wraps(callback)
    def reporting(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        name = callback.__name__.removeprefix("on_")
        try:
            return callback(node, state)
        except Exception as error:
            mendable = isinstance(error, (ValueError, OSError, RuntimeError))
            node.failed(name, str(error) if mendable else f"{type(error).__name__}: {error}")
            if mendable and name in ("configure", "activate"):
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.ERROR

    return reporting


@dataclass
class _Configured:
    """What exists from configure to cleanup; the predictor may be let go while not active."""

    rig: RigConfig
    class_names: tuple[str, ...]
    grid: VoxelGrid
    predictor: Predictor | None
    outputs: Outputs


class OccupancyNode(LifecycleNode):
    """Cameras in, semantic occupancy out.

    configure loads the rig and the model and warms up; activate subscribes; deactivate
    unsubscribes and frees the GPU; cleanup forgets the model, so that other parameters can be set.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("renderocc", **options)
        parameters.declare(self)
        self._settings = parameters.read(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._times, self._counters = StageTimes(), Counters()
        self._changes = diagnostics.Changes()
        self._problem = ""  # why the last transition failed
        self._callback_error = float("-inf"), ""  # when, and what
        self._diagnosed_s = time.monotonic()
        self._clock_seen = 0, time.monotonic()  # the time told, and since when
        self._configured: _Configured | None = None
        self._pipeline: Pipeline | None = None
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", 10, event_callbacks=NO_PUBLISHER_EVENTS
        )
        # Of the machine's time: that of a recording may stand still.
        self._diagnostics_timer = self.create_timer(
            self._settings.diagnostics_period_s,
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/save", self._on_save)
        self.create_service(Trigger, "~/save_map", self._on_save_map)
        for service in self.services:  # those of rclpy as well
            service.callback = self._answering(service.callback)

    # ------------------------------------------------------------------------------- lifecycle

    @report_errors
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load rig and model, run the model once."""
        rig = load_rig(self._settings.rig)
        parameters.check(self._settings, rig.names)
        rig_in_use(rig, self._settings)
        predictor = self._load(rig)
        class_names = predictor.class_set.names
        parameters.check(self._settings, rig.names, class_names)
        check_outputs(self._settings, predictor.grid)
        outputs = Outputs(self, rig, predictor.config.image, self._times, self._counters)
        self._configured = _Configured(rig, class_names, predictor.grid, predictor, outputs)
        self._problem = ""
        return SUCCESS

    @report_errors
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe; load the model again if deactivate had let it go."""
        assert self._configured is not None
        rig, outputs = self._configured.rig, self._configured.outputs
        predictor = self._configured.predictor = self._configured.predictor or self._load(rig)
        self._pipeline = Pipeline(
            self, rig, predictor, outputs, self._settings, self._times, self._counters
        )
        super().on_activate(state)  # enables the publishers
        outputs.publish_classes(predictor.class_set, self.get_clock().now().nanoseconds)
        self._problem = ""
        return SUCCESS

    @report_errors
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish the set in hand, give the GPU back."""
        self._stop(DEACTIVATE_S)
        assert self._configured is not None
        predictor = self._configured.predictor
        if predictor is not None and predictor.device.type == "cuda":
            del predictor
            self._configured.predictor = None
            release_memory()
        return super().on_deactivate(state)

    @report_errors
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget rig and model."""
        self._release()
        return SUCCESS

    @report_errors
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let everything go and be unconfigured again, so that configure can be tried anew."""
        self._release()
        return SUCCESS

    def bring_up(self) -> None:
        """Configure and activate; what fails is logged and stays in /diagnostics."""
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def stop(self) -> None:
        """End quickly, in whatever state, for the end of the process."""
        self._stop(STOP_S)

    def destroy_node(self) -> None:
        """Give all back; rclpy forgets the state machine, which holds the DDS participant."""
        self._state_machine.destroy_when_not_in_use()
        super().destroy_node()

    def failed(self, transition: str, reason: str) -> None:
        """Say why a transition failed, in the log and, until one succeeds, in /diagnostics."""
        self._stop(STOP_S)
        if transition == "configure":
            self._release()
        self._problem = f"{transition} failed: {reason}"
        self.get_logger().error(self._problem)

    def callback_failed(self, error: Exception) -> None:
        """Note an error that came out of a callback, which is one of this program."""
        self._counters.add("callback_errors")
        self._callback_error = time.monotonic(), f"{type(error).__name__}: {error}"
        where = "".join(traceback.format_exception(error))
        self.get_logger().error(f"a callback failed: {where}", throttle_duration_sec=5.0)

    def _load(self, rig: RigConfig) -> Predictor:
        started_s = time.perf_counter()
        predictor = load_predictor(self._settings)
        warm_up(predictor, rig.names)
        network = self._settings.network
        if not self._settings.checkpoint and shipped_weights(network) is None:
            self.get_logger().warning(
                f"no checkpoint given: network '{network}' runs with random weights, its voxels "
                "mean nothing; set the parameter 'checkpoint'"
            )
        elif not self._settings.checkpoint:
            self.get_logger().warning(
                f"no checkpoint given: network '{network}' runs with the weights that come with "
                "it, trained on synthetic towns; for a real robot train it and set 'checkpoint'"
            )
        self.get_logger().info(
            f"rig '{rig.name}', network '{predictor.config.name}' on {predictor.device}, ready "
            f"after {time.perf_counter() - started_s:.1f} s"
        )
        return predictor

    def _stop(self, timeout_s: float) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None and not pipeline.close(timeout_s):
            self._problem = f"the inference thread still works after {timeout_s} s"

    def _release(self) -> None:
        self._stop(STOP_S)
        configured, self._configured = self._configured, None
        if configured is not None:
            configured.outputs.destroy()
            configured.predictor = None
            release_memory()

    # -------------------------------------------------------------------------------- services

    def _answering(self, callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A service's callback that answers whatever happens: else who calls waits for ever.

        rclpy raises where a transition does not fit the state.
        """

        def answer(request: Any, response: Any) -> Any:
            try:
                return callback(request, response)
            except RuntimeError as error:
                text = f"a request was refused in the state '{self._state_label}': {error}"
                self.get_logger().warning(text)
            except Exception as error:
                self.callback_failed(error)
            return response  # as it is made: of no success

        return answer

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is not None:
            self._pipeline.reset()
        response.success = True
        response.message = "past frames and the map are forgotten with the next set"
        return response

    def _on_save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._save(response, lambda outputs, folder: outputs.save(folder))

    def _on_save_map(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        suffix = self._settings.map_save_as
        return self._save(response, lambda outputs, folder: outputs.map.save(folder, suffix))

    def _save(
        self, response: Trigger.Response, write: Callable[[Outputs, Path], Path]
    ) -> Trigger.Response:
        """Write into the folder for results; the answer says where, or why not."""
        if self._configured is None:
            response.message = "no result yet; /diagnostics says why"
            return response
        try:
            folder = Path(self._settings.save_folder).expanduser()
            response.message = str(write(self._configured.outputs, folder))
            response.success = True
        except ValueError as error:
            response.message = str(error)
        except (OSError, RuntimeError) as error:  # such as '~nobody', who has no home
            response.message = f"{error}; set the parameter 'save_folder'"
        return response

    # ------------------------------------------------------------------------------ parameters

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        present = parameters.read(self)
        changes = {parameter.name: parameter.value for parameter in changed}
        unconfigured = self._state_label == "unconfigured"
        configured = self._configured
        rig = configured.rig if configured else None
        class_names = configured.class_names if configured else None
        reason = parameters.refusal(
            present, changes, unconfigured, rig.names if rig else None, class_names
        )
        if configured is not None and not reason:
            wanted = parameters.with_changes(present, changes)
            try:
                rig_in_use(configured.rig, wanted)
                check_outputs(wanted, configured.grid)
            except ValueError as error:
                reason = str(error)
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_parameters(self, changed: list[Parameter]) -> None:
        before, self._settings = self._settings, parameters.read(self)
        if before == self._settings:
            return
        period_ns = int(self._settings.diagnostics_period_s * 1e9)
        self._diagnostics_timer.timer_period_ns = period_ns
        names = {parameter.name for parameter in changed} & parameters.SPECS.keys()
        reopen = any(parameters.SPECS[name].change is Change.INPUTS for name in names)
        if self._pipeline is not None:
            self._pipeline.change(self._settings, reopen)

    # ----------------------------------------------------------------------------- diagnostics

    @property
    def _state_label(self) -> str:
        return str(self._state_machine.current_state[1])

    def _findings(self) -> list[diagnostics.Finding]:
        findings = []
        if self._problem:
            findings.append(diagnostics.problem("lifecycle", self._problem))
        failed_s, error = self._callback_error
        if time.monotonic() - failed_s < CALLBACK_ERROR_S:
            findings.append(diagnostics.problem("callbacks", f"a callback failed: {error}"))
        findings += self._clock_findings()
        counts = Counter(self._counters.snapshot())
        if self._pipeline is not None:
            findings += self._pipeline.findings(self._blind_s())
            counts += self._pipeline.sets_dropped()
        if self._configured is not None:
            findings.append(self._configured.outputs.finding())
        findings.append(diagnostics.latency_finding(self._times.percentiles()))
        if self._configured is not None and self._configured.predictor is not None:
            findings.append(diagnostics.device_finding(self._configured.predictor))
        return [diagnostics.overall(self._state_label, findings, counts), *findings]

    def _blind_s(self) -> float:
        """By how much these diagnostics are late: for so long no callback of this process ran."""
        now_s, before_s = time.monotonic(), self._diagnosed_s
        self._diagnosed_s = now_s
        return max(0.0, now_s - before_s - self._settings.diagnostics_period_s)

    def _clock_findings(self) -> list[diagnostics.Finding]:
        """What is wrong with simulated time, and with the node's name."""
        findings = []
        clock, now_s = self.get_clock(), time.monotonic()
        now_ns = int(clock.now().nanoseconds)
        if now_ns != self._clock_seen[0] or not clock.ros_time_is_active:
            self._clock_seen = now_ns, now_s
        if clock.ros_time_is_active and now_ns == 0:
            findings.append(diagnostics.clock_finding(self.count_publishers("/clock")))
        elif now_s - self._clock_seen[1] > CLOCK_STANDS_S:
            findings.append(diagnostics.standing_clock_finding(now_ns, now_s - self._clock_seen[1]))
        elif clock.ros_time_is_active and (publishers := self.count_publishers("/clock")) > 1:
            findings.append(diagnostics.two_clocks_finding(publishers))
        own = self.get_name(), self.get_namespace()
        twins = self.get_node_names_and_namespaces().count(own)
        if twins > 1:
            name = self.get_fully_qualified_name()
            findings.append(diagnostics.twins_finding(name, twins))
        return findings

    def _publish_diagnostics(self) -> None:
        findings = self._findings()
        broken, mended = self._changes.of(findings)
        for text in broken:  # one line of code a severity: rclpy wants it so
            self.get_logger().warning(text)
        for text in mended:
            self.get_logger().info(text)
        self._diagnostics.publish(
            diagnostics.to_message(
                findings,
                self.get_fully_qualified_name().lstrip("/"),
                self._configured.rig.name if self._configured else self._settings.rig,
                self.get_clock().now().to_msg(),
            )
        )


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until it is told to stop; ends the process, with status 1 if it cannot start."""
    run_until_signalled(lambda: _run(args))


def _run(args: list[str] | None) -> None:
    remove_stale_segments()
    rclpy.init(args=args)
    node = None
    try:
        node = OccupancyNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.get_parameter("autostart").value:
            node.bring_up()
        while True:
            try:
                executor.spin()
                return
            except ExternalShutdownException:
                return
            except Exception as error:
                if not rclpy.ok():
                    raise
                node.callback_failed(error)  # and the others go on
    finally:
        if node is not None:
            node.stop()
            with suppress(Exception):  # the process ends in any case, with its memory given back
                node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

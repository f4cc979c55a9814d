"""The live node: wiring of inputs, inference thread and outputs into a lifecycle."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from renderocc_ros.config import RigConfig, load_rig
from renderocc_ros.node import diagnostics, parameters
from renderocc_ros.node.camera_input import ArrivedImage, CameraInput
from renderocc_ros.node.inputs import Inputs, rig_in_use
from renderocc_ros.node.model_loading import load_predictor, release_memory, warm_up
from renderocc_ros.node.outputs import Outputs
from renderocc_ros.node.parameters import Change
from renderocc_ros.node.process import run_until_signalled
from renderocc_ros.node.qos import QUIET_PUBLISHER
from renderocc_ros.node.ready_set import ReadySet
from renderocc_ros.node.reported import reported
from renderocc_ros.node.set_processor import SetProcessor
from renderocc_ros.node.statistics import StageTimes, Tally
from renderocc_ros.node.worker import NewestFirstWorker
from renderocc_ros.occupancy.occ3d_files import write_prediction
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.paths import shipped_weights
from renderocc_ros.rig.camera_set import CameraSet

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

# A set, and who works on it: cameras that come into use or go out of it get another processor.
Job = tuple[SetProcessor, ReadySet]

SUCCESS = TransitionCallbackReturn.SUCCESS
STOP_S = 0.6  # an inference that takes longer is left behind at the end of the process
DEACTIVATE_S = 10.0  # and is waited for so long on deactivate, which is to give its memory back


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
        self._times, self._tally = StageTimes(), Tally()
        self._changes = diagnostics.Changes()
        self._problem = ""  # why the last transition failed
        self._inference_problem = ""
        self._rig: RigConfig | None = None
        self._predictor: Predictor | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._worker: NewestFirstWorker[Job] | None = None
        self._processor: SetProcessor | None = None
        self._reset_wanted = False
        self._last_start_s = float("-inf")
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", 10, event_callbacks=QUIET_PUBLISHER
        )
        # Of the machine's time: that of a recording may stand still.
        self._diagnostics_timer = self.create_timer(
            self._settings.diagnostics_period_s,
            self._publish_diagnostics,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._last_result: SemanticOccupancy | None = None
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/save", self._on_save)

    # ------------------------------------------------------------------------------- lifecycle

    @reported
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load rig and model, run the model once."""
        self._rig = load_rig(self._settings.rig)
        reason = parameters.refusal(self._settings, {}, True, self._rig.names)
        if reason:
            raise ValueError(reason)
        rig_in_use(self._rig, self._settings)
        image = self._load().config.image
        self._outputs = Outputs(self, self._rig, image, self._times, self._tally)
        self._problem = ""
        return SUCCESS

    @reported
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe; load the model again if deactivate had let it go."""
        assert self._rig is not None
        assert self._outputs is not None
        predictor = self._predictor or self._load()
        self._worker = NewestFirstWorker(self._process, self._on_superseded, self._on_error)
        self._open_inputs()
        super().on_activate(state)  # enables the publishers
        self._outputs.publish_classes(predictor.class_set, self.get_clock().now().nanoseconds)
        self._problem = ""
        return SUCCESS

    @reported
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish the set in hand, give the GPU back."""
        self._stop(DEACTIVATE_S)
        if self._predictor is not None and self._predictor.device.type == "cuda":
            self._release_model()
        return super().on_deactivate(state)

    @reported
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget rig and model."""
        self._release()
        return SUCCESS

    @reported
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything."""
        self._stop()
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let everything go and be unconfigured again, so that configure can be tried anew."""
        self._stop()
        self._release()
        return SUCCESS

    def bring_up(self) -> None:
        """Configure and activate; what fails is logged and stays in /diagnostics."""
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def stop(self) -> None:
        """End quickly, in whatever state, for the end of the process."""
        self._stop()

    def failed(self, transition: str, reason: str) -> None:
        """Say why a transition failed, in the log and, until one succeeds, in /diagnostics."""
        self._stop()
        if transition == "configure":
            self._release()
        self._problem = f"{transition} failed: {reason}"
        self.get_logger().error(self._problem)

    # ----------------------------------------------------------------------------------- parts

    def _load(self) -> Predictor:
        started_s = time.perf_counter()
        self._predictor = load_predictor(self._settings)
        assert self._rig is not None
        warm_up(self._predictor, self._rig.names)
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
            f"rig '{self._rig.name}', network '{self._predictor.config.name}' on "
            f"{self._predictor.device}, ready after {time.perf_counter() - started_s:.1f} s"
        )
        return self._predictor

    def _open_inputs(self) -> None:
        assert self._rig is not None
        assert self._predictor is not None
        # A processor that is replaced ends with the sets that it was given, which hold it.
        self._inputs = Inputs(
            self,
            self._rig,
            self._settings,
            self._on_image,
            self._on_set,
            self._on_time_jump,
            self._times,
            self._tally,
        )
        self._processor = SetProcessor(
            self._predictor,
            self._rig.names,
            self._inputs.cameras,
            lambda: self._settings,
            self._publish,
            self._times,
            self._tally,
        )

    def _close_inputs(self) -> None:
        if self._inputs is not None:
            for reason, number in self._inputs.sets_dropped.items():
                self._tally.add(f"dropped.{reason}", number)
            self._inputs.destroy()
            self._inputs = None

    def _stop(self, patience_s: float = STOP_S) -> None:
        self._close_inputs()
        if self._worker is not None and not self._worker.stop(patience_s):
            self._problem = f"the inference thread still works after {patience_s} s"
        if self._processor is not None:
            self._processor.close()
        self._worker = self._processor = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        self._release_model()
        self._rig = self._last_result = None

    def _release_model(self) -> None:
        if self._predictor is not None:
            self._predictor = None
            release_memory()

    # ------------------------------------------------------------------------------------ sets

    def _on_image(self, camera: CameraInput, image: ArrivedImage) -> None:
        """In the executor's thread."""
        idle = self._worker is not None and self._worker.is_idle
        if idle and self._processor is not None and not self._settings.max_rate_hz:
            self._processor.look_ahead(camera, image)

    def _on_set(self, ready: ReadySet) -> None:
        """In the executor's thread."""
        rate_hz = self._settings.max_rate_hz
        if rate_hz > 0 and ready.ready_s - self._last_start_s < 0.98 / rate_hz:
            self._tally.add("dropped.max_rate_hz")
            return
        self._last_start_s = ready.ready_s
        if self._worker is not None and self._processor is not None:
            self._worker.submit((self._processor, ready))

    def _process(self, job: Job) -> None:
        """In the inference thread."""
        processor, ready = job
        predictor = self._predictor
        if predictor is None:
            return
        if self._reset_wanted:
            self._reset_wanted = False
            predictor.reset()
        processor.process(ready)
        self._inference_problem = ""

    def _publish(self, occupancy: SemanticOccupancy, cameras: CameraSet, ready: ReadySet) -> None:
        """In the inference thread."""
        self._last_result = occupancy
        outputs, predictor = self._outputs, self._predictor
        if outputs is not None and predictor is not None:
            outputs.publish(occupancy, cameras, self._settings, ready.last_arrival_s)
            if "rendered" in self._settings.outputs:
                frames = {name: image.frame for name, image in ready.images.items()}
                width = self._settings.rendered_width_px
                outputs.views.publish(predictor, cameras, frames, width)

    def _on_superseded(self, job: Job) -> None:
        self._tally.add("dropped.newer set came")

    def _on_error(self, job: Job, error: Exception) -> None:
        if not self.context.ok():  # the process is ending: nothing can be published any more
            return
        self._tally.add("dropped.inference error")
        self._inference_problem = f"inference failed: {type(error).__name__}: {error}"
        self.get_logger().error(self._inference_problem, throttle_duration_sec=5.0)

    def _on_time_jump(self) -> None:
        self.get_logger().warning("time went back: starting anew", throttle_duration_sec=5.0)
        self._reset_wanted = True

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_wanted = True
        response.success, response.message = True, "past frames are forgotten with the next set"
        return response

    def _on_save(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        result = self._last_result
        if result is None:
            response.message = "no result yet; /diagnostics says why"
            return response
        try:
            path = Path(self._settings.save_folder).expanduser() / f"{result.stamp_ns}.npz"
            write_prediction(path, result)
            response.success, response.message = True, str(path)
        except (OSError, RuntimeError) as error:  # '~nobody' has no home
            response.message = f"{error}; set the parameter 'save_folder'"
        return response

    # ------------------------------------------------------------------------------ parameters

    def _check_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        present = parameters.read(self)
        changes = {parameter.name: parameter.value for parameter in changed}
        unconfigured = self._state_label == "unconfigured"
        names = self._rig.names if self._rig is not None else None
        reason = parameters.refusal(present, changes, unconfigured, names)
        if self._rig is not None and not reason:
            try:
                rig_in_use(self._rig, parameters.with_changes(present, changes))
            except ValueError as error:
                reason = str(error)
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply_parameters(self, changed: list[Parameter]) -> None:
        before, self._settings = self._settings, parameters.read(self)
        names = {parameter.name for parameter in changed} & parameters.SPECS.keys()
        if before == self._settings:
            return
        self._diagnostics_timer.timer_period_ns = int(self._settings.diagnostics_period_s * 1e9)
        if self._inputs is not None and any(
            parameters.SPECS[name].change is Change.INPUTS for name in names
        ):
            self._close_inputs()
            self._open_inputs()

    # ----------------------------------------------------------------------------- diagnostics

    @property
    def _state_label(self) -> str:
        return str(self._state_machine.current_state[1])

    def _publish_diagnostics(self) -> None:
        findings = []
        if self._problem:
            findings.append(diagnostics.problem("lifecycle", self._problem))
        if self._inference_problem:
            findings.append(diagnostics.problem("inference", self._inference_problem))
        clock = self.get_clock()
        if clock.ros_time_is_active and clock.now().nanoseconds == 0:
            publishers = self.count_publishers("/clock")
            findings.append(diagnostics.clock_finding(publishers))
        counts = Counter(self._tally.snapshot())
        if self._inputs is not None:
            findings += self._inputs.findings()
            for reason, number in self._inputs.sets_dropped.items():
                counts[f"dropped.{reason}"] += number
        if self._outputs is not None:
            findings.append(self._outputs.finding())
        findings.append(diagnostics.latency_finding(self._times.percentiles()))
        if self._predictor is not None:
            findings.append(diagnostics.device_finding(self._predictor))
        findings.insert(0, diagnostics.overall(self._state_label, findings, counts))
        broken, mended = self._changes.of(findings)
        for words in broken:  # one line of code a severity: rclpy wants it so
            self.get_logger().warning(words)
        for words in mended:
            self.get_logger().info(words)
        self._diagnostics.publish(
            diagnostics.to_message(
                findings,
                self.get_fully_qualified_name(),
                self._rig.name if self._rig is not None else self._settings.rig,
                self.get_clock().now().to_msg(),
            )
        )


def main(args: list[str] | None = None) -> NoReturn:
    """Run the node until it is told to stop; ends the process, with status 1 if it cannot start."""
    run_until_signalled(lambda: _run(args))


def _run(args: list[str] | None) -> None:
    rclpy.init(args=args)
    node = None
    try:
        node = OccupancyNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.get_parameter("autostart").value:
            node.bring_up()
        executor.spin()
    finally:
        if node is not None:
            node.stop()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

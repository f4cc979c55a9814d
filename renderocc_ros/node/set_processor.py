"""What the inference thread does with a set: decode, predict, publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from renderocc_ros.node.camera_input import CameraInput
from renderocc_ros.node.image_messages import decode
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.node.ready_set import ReadySet
from renderocc_ros.node.statistics import StageTimes, Tally
from renderocc_ros.rig.calibration import scaled_to_image
from renderocc_ros.rig.camera_set import CameraReading, CameraSet
from renderocc_ros.rig.image_decoding import reduced_model
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_ros.semantic_occupancy import SemanticOccupancy

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

Publish = Callable[[SemanticOccupancy, CameraSet, dict[str, str]], None]

DECODERS = 2


class SetProcessor:
    """Turns a set that is ready into published results; runs in the inference thread.

    Args:
        predictor: the network.
        names: all cameras of the rig, in its order.
        cameras: those in use; a bad image is noted in ``image_problem``.
        parameters: gives the present parameters.
        publish: takes the result, the set it comes from, and each camera's optical frame.
    """

    def __init__(
        self,
        predictor: Predictor,
        names: tuple[str, ...],
        cameras: dict[str, CameraInput],
        parameters: Callable[[], NodeParameters],
        publish: Publish,
        times: StageTimes,
        tally: Tally,
    ) -> None:
        self._predictor, self._names, self._cameras = predictor, names, cameras
        self._parameters, self._publish = parameters, publish
        self._times, self._tally = times, tally
        self._preprocessor = ImagePreprocessor(predictor.config.image)
        self._own_threshold = predictor.threshold
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def process(self, ready: ReadySet) -> None:
        """Decode, predict, publish; drop the set if not enough of its images are readable."""
        started_s = time.perf_counter()
        self._times.add("wait for inference", (started_s - ready.ready_s) * 1e3)
        parameters = self._parameters()
        with self._times.stage("decode"):
            # OpenCV lets go of Python's lock, so two images decode at once.
            decoded = self._pool.map(lambda name: self._reading(ready, name), ready.images)
            readings = {reading.name: reading for reading in decoded if reading is not None}
        if len(readings) < ready.needed:
            self._tally.add("dropped.unreadable images")
            return
        camera_set = CameraSet(
            ready.stamp_ns,
            self._names,
            tuple(readings.get(name) for name in self._names),
            ready.odom_from_ego,
        )
        self._apply_threshold(parameters.threshold)
        with self._times.stage("inference"):
            occupancy = self._predictor.predict(camera_set)
        for stage, milliseconds in self._predictor.timings_ms.items():
            self._times.add(f"inference: {stage}", milliseconds)
        frames = {name: image.frame for name, image in ready.images.items()}
        with self._times.stage("publish"):
            self._publish(occupancy, camera_set, frames)
        finished_s = time.perf_counter()
        self._times.add("total", (finished_s - ready.last_arrival_s) * 1e3)
        self._tally.add("sets_published")

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _reading(self, ready: ReadySet, name: str) -> CameraReading | None:
        arrived = ready.images[name]
        camera = self._cameras[name]
        try:
            model = ready.models[name]
            compressed = camera.config.compressed
            reduction = self._preprocessor.reduction(model) if compressed else 1
            image = decode(arrived.serialised, compressed, reduction)
            height, width = image.shape[:2]
            if (width, height) != (-(-model.width // reduction), -(-model.height // reduction)):
                model = scaled_to_image(model, width * reduction, height * reduction)
            model = reduced_model(model, reduction)
        except ValueError as error:
            camera.image_problem = f"image on {camera.topic}: {error}"
            self._tally.add("bad_images")
            self._tally.add(f"bad_images.{name}")
            return None
        camera.image_problem = ""
        return CameraReading(name, arrived.stamp_ns, image, model, ready.ego_from_camera[name])

    def _apply_threshold(self, threshold: float) -> None:
        self._predictor.threshold = self._own_threshold if threshold < 0 else threshold

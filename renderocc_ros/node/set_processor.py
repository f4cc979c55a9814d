"""What the inference thread does with a set: decode, predict, publish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel
from renderocc_ros.node.camera_input import ArrivedImage, CameraInput
from renderocc_ros.node.inputs import PosedSet
from renderocc_ros.node.statistics import Counters, StageTimes
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_for

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

Publish = Callable[[SemanticOccupancy, CameraSet, PosedSet], None]

DECODERS = 2


@dataclass(frozen=True, eq=False)
class _Decoded:
    """Pixels, their model, scaled and reduced as they are, and the network's image of them."""

    image: NDArray[np.uint8]
    model: CameraModel
    planes: NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Decoding:
    """An image that is decoded, or is being decoded, and the calibration that it is decoded for."""

    arrived: ArrivedImage
    model: CameraModel
    result: Future[_Decoded]


class SetProcessor:
    """Turns a set that is ready into published results; runs in the inference thread.

    Args:
        predictor: the network.
        names: all cameras of the rig, in its order.
        cameras: those in use; a bad image is noted in ``image_problem``.
        publish: takes the result, the images that it was made of, and the set.
    """

    def __init__(
        self,
        predictor: Predictor,
        names: tuple[str, ...],
        cameras: dict[str, CameraInput],
        publish: Publish,
        times: StageTimes,
        counters: Counters,
    ) -> None:
        self._predictor, self._names, self._cameras = predictor, names, cameras
        self._publish, self._times, self._counters = publish, times, counters
        self._own_threshold = predictor.config.opacity_threshold
        self._pool = ThreadPoolExecutor(DECODERS, "decode", initializer=_let_others_finish)
        self._prefetched: dict[str, _Decoding] = {}

    def prefetch(self, camera: CameraInput, arrived: ArrivedImage) -> None:
        """Begin to decode an image while its set waits for the other cameras.

        In the executor's thread; only while nothing else is to be done, so that no image is decoded
        whose set is to be dropped.
        """
        if camera.model is not None:
            self._prefetched[camera.config.name] = self._decoding(camera, arrived, camera.model)

    def process(self, posed: PosedSet, threshold: float) -> None:
        """Decode, predict, publish; drop the set if not enough of its images are readable.

        Args:
            threshold: opacity above which a voxel is occupied; negative: the network's own.
        """
        started_s = time.perf_counter()
        self._times.add("wait for inference", (started_s - posed.ready_s) * 1e3)
        with self._times.stage("decode"):
            begun = {name: self._begun(posed, name) for name in posed.images}
            results = {name: self._decoded(name, decoding) for name, decoding in begun.items()}
            decoded = {name: each for name, each in results.items() if each is not None}
        posed_images = {
            name: PosedImage(
                name,
                posed.images[name].stamp_ns,
                each.image,
                each.model,
                posed.ego_from_camera[name],
            )
            for name, each in decoded.items()
        }
        if len(posed_images) < posed.needed:
            self._counters.add("dropped.unreadable images")
            return
        camera_set = CameraSet(
            posed.stamp_ns,
            self._names,
            tuple(posed_images.get(name) for name in self._names),
            posed.odom_from_ego,
        )
        self._predictor.threshold = self._own_threshold if threshold < 0 else threshold
        with self._times.stage("inference"):
            planes = {name: each.planes for name, each in decoded.items()}
            occupancy = self._predictor.predict(camera_set, planes)
        for stage, milliseconds in self._predictor.timings_ms.items():
            self._times.add(f"inference: {stage}", milliseconds)
        with self._times.stage("publish"):
            self._publish(occupancy, camera_set, posed)
        finished_s = time.perf_counter()
        self._times.add("total", (finished_s - posed.last_arrival_s) * 1e3)
        self._counters.add("sets_published")

    def close(self) -> None:
        """End the decoding threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begun(self, posed: PosedSet, name: str) -> _Decoding:
        arrived, model = posed.images[name], posed.models[name]
        ahead = self._prefetched.get(name)
        if ahead is not None and ahead.arrived is arrived and ahead.model is model:
            return ahead
        return self._decoding(self._cameras[name], arrived, model)

    def _decoding(
        self, camera: CameraInput, arrived: ArrivedImage, model: CameraModel
    ) -> _Decoding:
        # OpenCV lets go of Python's lock, so two images decode at once.
        return _Decoding(arrived, model, self._pool.submit(self._decode, camera, arrived, model))

    def _decode(self, camera: CameraInput, arrived: ArrivedImage, model: CameraModel) -> _Decoded:
        preprocessor = self._predictor.preprocessor
        image, model = decode_for(arrived.message(), model, preprocessor.reduction)
        return _Decoded(image, model, preprocessor.planes(camera.config.name, image, model))

    def _decoded(self, name: str, decoding: _Decoding) -> _Decoded | None:
        camera = self._cameras[name]
        try:
            decoded = decoding.result.result()
        except Exception as error:  # of whatever kind: it costs this camera alone
            camera.image_problem = f"image on {camera.topic}: {error}"
            self._counters.add("bad_images")
            self._counters.add(f"bad_images.{name}")
            return None
        camera.image_problem = ""
        return decoded


def _let_others_finish() -> None:
    """This thread, once woken, does not take the core from the one that woke it.

    A set is not matched before the executor's thread goes on, which else waits here until the image
    is decoded, though another core be idle (sched(7), SCHED_BATCH).
    """
    if hasattr(os, "SCHED_BATCH"):  # Linux
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

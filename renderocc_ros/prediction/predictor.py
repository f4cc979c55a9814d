"""The predictor: sets of camera images in, semantic occupancy out, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from renderocc_ros.checkpoint import Model, ModelHeader, load_checkpoint, require_match
from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.occupancy_field import (
    DecodedField,
    OccupancyField,
    class_probabilities,
    decode_field,
    decode_probabilities,
    field_of,
)
from renderocc_ros.network.renderocc import RenderOcc, lifting_geometry
from renderocc_ros.network_config import LiftedConfig
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.prediction.calibration import Calibration, CalibrationCache
from renderocc_ros.prediction.field_memory import FieldMemory
from renderocc_ros.prediction.models import model_file, untrained_model
from renderocc_ros.prediction.onnx_engine import OnnxEngine, Session, open_session
from renderocc_ros.prediction.options import Options, choose_device
from renderocc_ros.prediction.runner import Engine, OfficialRunner, Runner, StreamRunner
from renderocc_ros.prediction.timing import StageTimer
from renderocc_ros.prediction.torch_engine import GraphEngine, TorchEngine
from renderocc_ros.prediction.visibility import voxels_in_view
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_ros.rig.network_input import NetworkInput, check_input
from renderocc_ros.rig.range_check import SeenDepth

Mask = NDArray[np.bool_]


class Predictor:
    """A network ready to run, with the state of one stream.

    Feed it sets in order of time; it keeps past frames where the network fuses them, what earlier
    sets said where the network has a memory, and what depends on calibration alone. Not for use
    from two threads at once. Make one by ``from_checkpoint`` or ``from_preset``.

    Attributes:
        config: the network's configuration.
        class_set: meaning of the labels.
        grid: where the voxels lie in the ego frame.
        device: where the network runs.
        threshold: a voxel is occupied where its opacity, or what ``config.read_out`` names, is
            above; may be changed between sets.
        preprocessor: makes the network's images of a camera's.
        field: the field of the last prediction on ``device``, with what is remembered in it, for
            views rendered from it.
    """

    def __init__(
        self, header: ModelHeader, runner: Runner, device: torch.device, timer: StageTimer
    ) -> None:
        self.header = header
        self.config = header.config
        self.class_set: ClassSet = header.class_set
        self.grid: VoxelGrid = header.config.grid.build()
        self.device = device
        self.field: OccupancyField | None = None
        self._alone: OccupancyField | None = None
        self.threshold = self.config.opacity_threshold
        self._runner = runner
        # To a GPU the bytes go as they are, and are normalised there.
        self.preprocessor = ImagePreprocessor(header.config.image, normalise=device.type == "cpu")
        self._timer = timer
        memory = self.config.memory
        self._memory = (
            FieldMemory(self.grid, memory, self.class_set.moving_ids, device) if memory else None
        )
        self._views: CalibrationCache[Mask] = CalibrationCache(self._voxels_of_each_camera)

    @classmethod
    def from_checkpoint(cls, path: str | Path, **options: Any) -> Predictor:
        """From a checkpoint, or from an exported .onnx file.

        Args:
            path: of a file that ``save_checkpoint`` or ``export_onnx`` wrote.
            options: see ``Options``.

        Raises:
            ValueError: see ``load_checkpoint``, ``open_session`` and ``Options``.
        """
        chosen = Options(**options)
        if Path(path).suffix == ".onnx":
            return cls._exported(path, chosen)
        return cls.from_model(load_checkpoint(path), **options)

    @classmethod
    def from_name(cls, name: str | Path, **options: Any) -> Predictor:
        """From a file, or by the name of a network: with the weights that come with it, or
        untrained where there are none; see ``from_checkpoint`` and ``from_preset``."""
        path = model_file(name)
        if path is None:
            return cls.from_preset(str(name), **options)
        return cls.from_checkpoint(path, **options)

    @classmethod
    def from_preset(cls, name: str, *, seed: int = 0, **options: Any) -> Predictor:
        """An untrained network with seeded random weights: for trials of everything around it.

        An untrained field hovers about its initial opacity, so that is its threshold.

        Args:
            name: of a shipped network, or the path of a YAML file.
            seed: the same seed gives the same weights.
            options: see ``Options``.
        """
        return cls.from_model(untrained_model(name, seed), **options)

    @classmethod
    def from_model(cls, model: Model, **options: Any) -> Predictor:
        """From a network in memory, which becomes this predictor's own; see ``Options``.

        It is moved to the device, its memory layout may change, and its stages are timed.
        """
        chosen = Options(**options)
        if chosen.backend == "openvino":
            raise ValueError(
                "backend = 'openvino' runs exported files: renderocc export MODEL --onnx FILE"
            )
        _set_threads(chosen)
        device = choose_device(chosen.device)
        timer = StageTimer(device)
        header = model.header
        if not isinstance(model.network, RenderOcc):
            chosen.require_plain(f"network '{header.config.name}'")
            return cls(header, OfficialRunner(model.network, device, timer), device, timer)
        torch_engine = TorchEngine(model.network, device, chosen, timer)
        graph = chosen.backend == "cuda_graph"
        engine: Engine = GraphEngine(torch_engine) if graph else torch_engine
        return cls(header, _stream_runner(engine, header, timer), device, timer)

    @classmethod
    def _exported(cls, path: str | Path, options: Options) -> Predictor:
        backend = "eager" if options.backend == "openvino" else options.backend
        rest = replace(options, backend=backend, precision="fp32")
        rest.require_plain(f"{path}, an exported file,")
        _set_threads(options)
        return cls.from_session(open_session(path, options), path)

    @classmethod
    def from_session(cls, session: Session, where: str | Path) -> Predictor:
        """From an exported file that is open already.

        Args:
            where: it lies, for messages.
        """
        timer = StageTimer(session.device)
        engine = OnnxEngine(session, where, timer)
        runner = _stream_runner(engine, engine.header, timer)
        return cls(engine.header, runner, engine.device, timer)

    @property
    def probabilities(self) -> Tensor:
        """(X, Y, Z, K + 1) ``class_probabilities`` of the last set alone, without the memory."""
        assert self._alone is not None, "no set yet"
        return class_probabilities(self._alone, self.grid.resolution_m)[0]

    @property
    def timings_ms(self) -> dict[str, float]:
        """Duration of each stage of the last prediction, milliseconds."""
        return dict(self._timer.milliseconds)

    def require(self, *, grid: VoxelGrid | None = None, class_set: ClassSet | None = None) -> None:
        """Refuse to go on with another grid or other classes than asked for; ``require_match``."""
        require_match(self.header, grid=grid, class_set=class_set)

    def seen_depth(self, camera_set: CameraSet) -> dict[str, SeenDepth]:
        """What the network says of the depth in each image of the last set, by camera name.

        Empty before the first set, for an exported file and for the official network.
        """
        return self._seen(camera_set, self._runner.depth)

    @torch.inference_mode()
    def see(self, image: PosedImage) -> SeenDepth | None:
        """What the network says of the depth in one image by itself; the stream stays as it is.

        None for an exported file and for the official network.
        """
        alone = CameraSet(image.stamp_ns, (image.name,), (image,))
        return self._seen(alone, self._runner.see(self.preprocessor(alone))).get(image.name)

    def _seen(self, camera_set: CameraSet, depth: Tensor | None) -> dict[str, SeenDepth]:
        parts = self.config.architecture
        if depth is None or not isinstance(parts, LiftedConfig):
            return {}
        centres_m, target = parts.depth.centres_m, self.preprocessor.target
        return {
            image.name: SeenDepth.of(each, centres_m, target(image.name, image.model))
            for image, each in zip(camera_set.images, depth[0].float().cpu().numpy(), strict=True)
            if image is not None
        }

    def reset(self) -> None:
        """Forget past frames and calibration: the next set starts a new stream."""
        self._runner.reset()
        self._views.reset()
        if self._memory is not None:
            self._memory.reset()
        self.field = None

    def predict(
        self, camera_set: CameraSet, planes: Mapping[str, NDArray[Any]] = MappingProxyType({})
    ) -> SemanticOccupancy:
        """Semantic occupancy in the ego frame at the set's stamp.

        Args:
            planes: by camera name, images that ``preprocessor.planes`` has prepared already.

        Raises:
            ValueError: wrong number of cameras, or no camera looks into the grid.
        """
        self._timer.clear()
        self._check_cameras(camera_set)
        with self._timer.stage("preprocess"):
            cameras = self.preprocessor(camera_set, planes=planes)
        return self.predict_input(cameras, camera_set)

    def predict_input(self, cameras: NetworkInput, camera_set: CameraSet) -> SemanticOccupancy:
        """As ``predict``, of images that are prepared already.

        Args:
            cameras: images and calibration; anything where ``valid`` is false.
            camera_set: names, stamp and ego pose; its images are not looked at.

        Raises:
            ValueError: as ``predict``; images of another size; pixels or poses not finite.
        """
        check_input(cameras, camera_set.names, self.config.image)
        with torch.inference_mode():
            field = self._runner.run(cameras, camera_set)
            with self._timer.stage("in_view"):
                in_view = self._in_view(cameras, camera_set.names)
            self.field, result = self._remembered(field, in_view, camera_set)
            with self._timer.stage("read_out"):
                labels = result.labels[0].cpu().numpy()
                confidence = result.confidence[0].cpu().numpy()
        return SemanticOccupancy(
            camera_set.stamp_ns, self.grid, self.class_set, labels, confidence, in_view
        )

    def _remembered(
        self, field: OccupancyField, in_view: Mask, camera_set: CameraSet
    ) -> tuple[OccupancyField, DecodedField]:
        """The field with what is remembered in it, and what is read out of it."""
        resolution_m, by = self.grid.resolution_m, self.config.read_out
        self._alone = field
        if self._memory is None:
            with self._timer.stage("read_out"):
                return field, decode_field(field, resolution_m, self.threshold, by)
        with self._timer.stage("memory"):
            own = class_probabilities(field, resolution_m)
            blended = self._memory.blended(
                own[0],
                decode_probabilities(own, self.threshold, by).labels[0],
                torch.from_numpy(in_view),
                camera_set.stamp_ns,
                camera_set.odom_from_ego,
            )[None]
            field = field_of(blended, resolution_m)
        with self._timer.stage("read_out"):
            return field, decode_probabilities(blended, self.threshold, by)

    def _check_cameras(self, camera_set: CameraSet) -> None:
        wanted, names = self.config.cameras, camera_set.names
        if wanted is not None and len(names) != wanted:
            raise ValueError(
                f"the set has {len(names)} cameras ({', '.join(names)}), network "
                f"'{self.config.name}' takes {wanted}; choose a rig with as many, or another "
                "network"
            )

    def _in_view(self, cameras: NetworkInput, names: tuple[str, ...]) -> Mask:
        in_view = self._views.get(Calibration.of(names, cameras))
        return np.asarray(in_view[cameras.valid].any(axis=0))

    def _voxels_of_each_camera(self, calibration: Calibration) -> Mask:
        image = self.config.image
        in_view = voxels_in_view(
            self.grid,
            torch.from_numpy(calibration.intrinsics),
            torch.from_numpy(calibration.ego_from_camera),
            (image.height, image.width),
        )
        return np.asarray(in_view.numpy())


def _stream_runner(engine: Engine, header: ModelHeader, timer: StageTimer) -> StreamRunner:
    parts = header.config.architecture
    assert isinstance(parts, LiftedConfig)
    geometry = lifting_geometry(header.config)
    return StreamRunner(engine, header.config.image, geometry, parts, timer)


def _set_threads(options: Options) -> None:
    if options.threads is not None:
        torch.set_num_threads(options.threads)

"""The predictor: sets of camera images in, semantic occupancy out, one after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.checkpoint import Model, load_checkpoint
from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.initialise import settle_norms
from renderocc_ros.network.occupancy_field import OccupancyField, read_out
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import LiftedConfig, NetworkConfig, load_network_config
from renderocc_ros.prediction.calibration import Calibration, CalibrationCache
from renderocc_ros.prediction.network_input import NetworkInput, network_input
from renderocc_ros.prediction.runner import TorchRunner
from renderocc_ros.prediction.timing import StageTimer
from renderocc_ros.prediction.visibility import voxels_in_view
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.semantic_occupancy import SemanticOccupancy

Mask = NDArray[np.bool_]


class Predictor:
    """A network ready to run, with the state of one stream.

    Feed it sets in order of time; it keeps past frames where the network fuses them, and what
    depends on calibration alone. Not for use from two threads at once.

    Attributes:
        config: the network's configuration.
        class_set: meaning of the labels.
        grid: where the voxels lie in the ego frame.
        device: where the network runs.
        field: the field of the last prediction on ``device``, for views rendered from it.
    """

    def __init__(self, model: Model, *, device: str = "auto", threads: int | None = None) -> None:
        """
        Args:
            model: network and what belongs to it; see ``from_checkpoint`` and ``from_preset``.
            device: "auto" takes the GPU if there is one; else as torch names it: "cpu", "cuda:1".
            threads: CPU threads for the whole process; torch's own choice if not given.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self.config: NetworkConfig = model.network.config
        self.class_set: ClassSet = model.class_set
        self.grid: VoxelGrid = self.config.grid.build()
        self.device = choose_device(device)
        self.field: OccupancyField | None = None
        self._timer = StageTimer(self.device)
        self._runner = TorchRunner(model.network, self.device, self._timer)
        self._views = CalibrationCache(self._in_view)

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, *, device: str = "auto", threads: int | None = None
    ) -> Predictor:
        """From a file that ``save_checkpoint`` wrote; see ``load_checkpoint`` for the errors."""
        return cls(load_checkpoint(path), device=device, threads=threads)

    @classmethod
    def from_preset(
        cls, name: str, *, seed: int = 0, device: str = "auto", threads: int | None = None
    ) -> Predictor:
        """An untrained network with seeded random weights: for trials of everything around it.

        An untrained field hovers about its initial opacity, so that is its threshold.
        """
        config = load_network_config(name)
        if isinstance(config.architecture, LiftedConfig):
            threshold = config.architecture.field.initial_opacity
            config = config.model_copy(update={"threshold": threshold})
        class_set = load_class_set(config.class_set)
        network = build_network(config, len(class_set), seed=seed)
        settle_norms(network, seed)
        return cls(Model(network, class_set), device=device, threads=threads)

    @property
    def timings_ms(self) -> dict[str, float]:
        """Duration of each stage of the last prediction, milliseconds."""
        return dict(self._timer.milliseconds)

    def reset(self) -> None:
        """Forget past frames and calibration: the next set starts a new stream."""
        self._runner.reset()
        self._views.reset()
        self.field = None

    def predict(self, camera_set: CameraSet) -> SemanticOccupancy:
        """Semantic occupancy in the ego frame at the set's stamp.

        Raises:
            ValueError: wrong number of cameras, or no camera looks into the grid.
        """
        timer = self._timer
        timer.clear()
        wanted = self.config.cameras
        if wanted is not None and len(camera_set.names) != wanted:
            raise ValueError(
                f"the set has {len(camera_set.names)} cameras ({', '.join(camera_set.names)}), "
                f"network '{self.config.name}' takes {wanted}; choose a rig with as many, or "
                "another network"
            )
        with torch.inference_mode():
            with timer.stage("preprocess"):
                cameras = network_input(camera_set, self.config.image)
            self.field = self._runner.run(
                cameras, camera_set.names, camera_set.stamp_ns, camera_set.odom_from_ego
            )
            with timer.stage("read_out"):
                result = read_out(self.field, self.grid.resolution_m, self.config.threshold)
                labels = result.labels[0].cpu().numpy()
                confidence = result.confidence[0].cpu().numpy()
            with timer.stage("in_view"):
                observed = self._observed(cameras, camera_set.names)
        return SemanticOccupancy(
            camera_set.stamp_ns, self.grid, self.class_set, labels, confidence, observed
        )

    def _observed(self, cameras: NetworkInput, names: tuple[str, ...]) -> Mask:
        calibration = Calibration(names, cameras.intrinsics, cameras.ego_from_camera, cameras.valid)
        in_view = self._views.get(calibration)
        return np.asarray(in_view[cameras.valid].any(axis=0))

    def _in_view(self, calibration: Calibration) -> Mask:
        image = self.config.image
        in_view = voxels_in_view(
            self.grid,
            torch.from_numpy(calibration.intrinsics),
            torch.from_numpy(calibration.ego_from_camera),
            (image.height, image.width),
        )
        return in_view.numpy()


def choose_device(name: str) -> torch.device:
    """A torch device; "auto" is the GPU if there is one.

    Raises:
        ValueError: torch knows no such device, or cannot reach it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device = '{name}' cannot be used: {reason}; try cpu or auto") from error
    return device

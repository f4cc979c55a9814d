"""The map over time: fed by every set, published and saved in the odometry frame."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray

from renderocc_ros.node.costmap import to_costmap, to_costs
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.viewing.voxel_files import write_voxels

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor
    from renderocc_ros.prediction.occupancy_map import MapOptions, OccupancyMap


class MapOverTime:
    """Keeps the map; updated in the inference thread, read in any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._map: OccupancyMap | None = None
        self._made_for: tuple[MapOptions, float] | None = None
        self._ground_m = 0.0  # height of the base frame in the odometry frame
        self._result: SemanticOccupancy | None = None

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._map = self._result = None

    def update(
        self,
        occupancy: SemanticOccupancy,
        visible: NDArray[np.bool_],
        predictor: Predictor,
        cameras: CameraSet,
        parameters: NodeParameters,
    ) -> None:
        """Take in a set, which has its pose: a rig without odometry is refused a map.

        Args:
            visible: (X, Y, Z) bool, the voxels that its cameras see past what is occupied.
        """
        pose = cameras.odom_from_ego
        assert pose is not None
        in_view = occupancy.in_view if occupancy.in_view is not None else visible
        with self._lock:
            self._of(predictor, parameters).update(
                predictor.probabilities, in_view, visible, occupancy.stamp_ns, pose
            )
            self._ground_m, self._result = float(pose.translation[2]), None

    @property
    def exists(self) -> bool:
        """Whether any set went in."""
        return self._map is not None

    def current(self) -> SemanticOccupancy:
        """The whole map, in the odometry frame.

        Raises:
            ValueError: there is none yet.
        """
        with self._lock:
            if self._map is None:
                raise ValueError("there is no map yet: set map.enabled, and see /diagnostics")
            self._result = self._result or self._map.occupancy()
            return self._result

    def costmap(self, frame: str, parameters: NodeParameters) -> OccupancyGrid:
        """The map from above: blocked, free and unknown columns, at heights above the robot's."""
        result = self.current()
        low_m, high_m = (height_m + self._ground_m for height_m in parameters.costmap_height_m)
        return to_costmap(
            result, frame, to_costs(result, (low_m, high_m), parameters.costmap_classes)
        )

    def save(self, folder: Path, suffix: str) -> Path:
        """Write the map, named by its stamp.

        Raises:
            ValueError: there is none yet, or it has left what OctoMap reaches.
            OSError: it cannot be written.
        """
        result = self.current()
        path = folder / f"map-{result.stamp_ns}.{suffix}"
        write_voxels(path, result)
        return path

    def _of(self, predictor: Predictor, parameters: NodeParameters) -> OccupancyMap:
        """The map for what is wanted now; another one begins empty."""
        from renderocc_ros.prediction.occupancy_map import MapOptions, OccupancyMap

        options = MapOptions(
            size_m=(parameters.map_size_m, parameters.map_size_m),
            moving_half_life_s=parameters.map_moving_half_life_s,
        )
        threshold = float(np.clip(predictor.threshold, 0.01, 0.99))
        wanted = (options, threshold)
        if self._map is None or self._made_for != wanted:
            self._map = OccupancyMap(
                predictor.grid,
                predictor.class_set,
                threshold,
                predictor.config.read_out,
                options,
                predictor.device,
            )
            self._made_for = wanted
        return self._map

"""The node's publishers. Nothing is built for a topic that nobody subscribes to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import RigConfig
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.msg import SemanticClasses
from renderocc_ros.msg import SemanticOccupancy as SemanticOccupancyMessage
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.node.costmap import VisibleVoxels, layers_between
from renderocc_ros.node.diagnostics import OK, WARN, Finding
from renderocc_ros.node.heights import to_heights
from renderocc_ros.node.mapping import MapOverTime
from renderocc_ros.node.navigation import Navigation
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.node.qos import NO_PUBLISHER_EVENTS, QOS_OVERRIDES, mismatch
from renderocc_ros.node.rendered_views import RenderedViews
from renderocc_ros.node.statistics import Counters, StageTimes
from renderocc_ros.occupancy import markers
from renderocc_ros.occupancy.messages import to_classes_message, to_message
from renderocc_ros.occupancy.occ3d_files import write_prediction
from renderocc_ros.occupancy.octree import octree_cells
from renderocc_ros.occupancy.point_cloud import Unseen
from renderocc_ros.occupancy.ros_messages import make, message_class, to_cloud
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.occupancy.standard_messages import to_detections, to_octomap, to_voxel_grid
from renderocc_ros.rig.camera_set import CameraSet

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

RELIABLE = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)
TYPES: Mapping[str, Any] = {
    "points": PointCloud2,
    "markers": MarkerArray,
    "occupancy": SemanticOccupancyMessage,
    "costmap": OccupancyGrid,
    "obstacles": PointCloud2,
    "clearing": PointCloud2,
    "heights": Image,
    "map": SemanticOccupancyMessage,
    "map_points": PointCloud2,
    "map_costmap": OccupancyGrid,
}
# Of packages that may be missing.
OPTIONAL_TYPES: Mapping[str, str] = {
    "detections": "vision_msgs/msg/Detection3DArray",
    "octomap": "octomap_msgs/msg/Octomap",
    "voxel_grid": "nav2_msgs/msg/VoxelGrid",
}
NEED_ALL_LAYERS = {"octomap", "voxel_grid"}
LATCHED_OUTPUTS = ("costmap", "map_costmap", "octomap")


class Outputs:
    """Publishers of the results, all under ``~/``.

    Args:
        node: an rclpy LifecycleNode; its publishers publish only while it is active.
        rig: names the frame of the results and the cameras.
        image: the network's, which says how much of a camera's image it looks at.

    Attributes:
        map: of all sets, if one is wanted.
    """

    def __init__(
        self, node: Any, rig: RigConfig, image: ImageConfig, times: StageTimes, counters: Counters
    ) -> None:
        self._node, self._frame, self._map_frame = node, rig.base_frame, rig.odom_frame or ""
        self.map = MapOverTime()
        self._visible_voxels = VisibleVoxels(image)
        self._last_result: SemanticOccupancy | None = None
        self._views = RenderedViews(node, rig.names, times)
        self._times, self._counters = times, counters
        self._publishers = {
            name: node.create_lifecycle_publisher(
                kind,
                f"~/{name}",
                LATCHED if name in LATCHED_OUTPUTS else RELIABLE,
                qos_overriding_options=QOS_OVERRIDES,
                event_callbacks=NO_PUBLISHER_EVENTS,
            )
            for name, kind in {**TYPES, **_installed()}.items()
        }
        self._classes = node.create_lifecycle_publisher(
            SemanticClasses,
            "~/classes",
            LATCHED,
            qos_overriding_options=QOS_OVERRIDES,
            event_callbacks=NO_PUBLISHER_EVENTS,
        )
        self._plain_markers = not markers.is_exact()

    def publish_classes(self, class_set: ClassSet, stamp_ns: int) -> None:
        """Latch the class table."""
        self._classes.publish(to_classes_message(make, class_set, stamp_ns))

    def publish(
        self,
        occupancy: SemanticOccupancy,
        predictor: Predictor,
        cameras: CameraSet,
        frames: Mapping[str, str],
        parameters: NodeParameters,
        last_arrival_s: float,
    ) -> None:
        """Publish on every chosen topic that has a subscriber.

        Args:
            predictor: what the result comes from; its field is rendered.
            cameras: the set that the result comes from.
            frames: their optical frames by name.
            last_arrival_s: when its last image came, ``time.perf_counter()``.
        """
        self._last_result = occupancy
        posed_images = [posed for posed in cameras.images if posed is not None]
        stamps_ns = {posed.name: posed.stamp_ns for posed in posed_images}
        wanted = {
            name: publisher
            for name, publisher in self._publishers.items()
            if name in parameters.outputs and publisher.get_subscription_count() > 0
        }
        low_m, high_m = parameters.costmap_height_m
        layers = layers_between(occupancy.grid, (low_m, high_m))
        if parameters.map_enabled or not NEED_ALL_LAYERS.isdisjoint(wanted):
            layers = slice(0, occupancy.grid.size[2])

        @cache
        def visible() -> NDArray[np.bool_]:
            return self._visible_voxels.of(occupancy, cameras, layers)

        if parameters.map_enabled:
            with self._times.stage("map"):
                self.map.update(occupancy, visible(), predictor, cameras, parameters)
        elif self.map.exists:
            self.map.reset()
        navigation = Navigation(occupancy, visible, self._frame, parameters)
        builders: dict[str, Callable[[], Any]] = {
            "points": lambda: to_cloud(
                occupancy.keeping(parameters.points_classes),
                self._frame,
                round(parameters.min_confidence * 255),
                unseen(parameters),
            ),
            "markers": lambda: self._markers(
                occupancy.keeping(parameters.markers_classes), parameters
            ),
            "occupancy": lambda: to_message(
                make,
                occupancy.keeping(parameters.occupancy_classes),
                self._frame,
                stamps_ns,
                cameras.missing,
            ),
            "costmap": navigation.costmap,
            "obstacles": navigation.obstacles,
            "clearing": navigation.clearing,
            "heights": lambda: to_heights(occupancy, self._frame),
            "detections": lambda: to_detections(
                make,
                occupancy,
                self._frame,
                parameters.detections_classes or occupancy.class_set.moving_names,
                parameters.detections_min_voxels,
            ),
            "octomap": lambda: to_octomap(
                make, occupancy.keeping(parameters.octomap_classes), self._frame, visible()
            ),
            "voxel_grid": lambda: to_voxel_grid(
                make, occupancy.keeping(parameters.voxel_grid_classes), self._frame, visible()
            ),
        }
        if self.map.exists:
            builders |= {
                "map": lambda: to_message(make, self.map.current(), self._map_frame, {}),
                "map_points": lambda: to_cloud(self.map.current(), self._map_frame),
                "map_costmap": lambda: self.map.costmap(self._map_frame, parameters),
                "octomap": lambda: to_octomap(
                    make, self.map.current().keeping(parameters.octomap_classes), self._map_frame
                ),
            }
        for name, publisher in wanted.items():
            if name in builders:
                with self._times.stage(f"publish {name}"):
                    publisher.publish(builders[name]())
                since_ms = (time.perf_counter() - last_arrival_s) * 1e3
                self._times.add(f"last image to {name}", since_ms)
                self._counters.add(f"published.{name}")
        if "rendered" in parameters.outputs:
            self._views.publish(predictor, cameras, frames, parameters)

    def save(self, folder: Path) -> Path:
        """Write the last result as .npz, named by its stamp; returns the file.

        Raises:
            ValueError: there is none yet.
            OSError: it cannot be written.
        """
        if self._last_result is None:
            raise ValueError("no result yet; /diagnostics says why")
        path = folder / f"{self._last_result.stamp_ns}.npz"
        write_prediction(path, self._last_result)
        return path

    def finding(self) -> Finding:
        """Subscribers per topic, and those whose QoS does not fit, for diagnostics."""
        counts = {
            name: f"{publisher.get_subscription_count()} subscribers"
            for name, publisher in self._publishers.items()
        }
        refused = [
            reason
            for publisher in self._publishers.values()
            for reason in self._left_out(publisher)
        ]
        if refused:
            return Finding("outputs", WARN, "; ".join(refused), counts)
        return Finding("outputs", OK, "as subscribed", counts)

    def _left_out(self, publisher: Any) -> Iterator[str]:
        """Subscribers that get nothing since they ask for more than is offered."""
        topic = publisher.topic_name
        for subscriber in self._node.get_subscriptions_info_by_topic(topic):
            if reason := mismatch(publisher.qos_profile, subscriber.qos_profile):
                yield (
                    f"{subscriber.node_name} gets nothing from {topic}: {reason}; change its QoS, "
                    f"or set qos_overrides.{topic}.publisher.* of this node"
                )

    def destroy(self) -> None:
        """Take the publishers down."""
        self._views.destroy()
        for publisher in (*self._publishers.values(), self._classes):
            self._node.destroy_lifecycle_publisher(publisher)

    def _markers(self, occupancy: SemanticOccupancy, parameters: NodeParameters) -> Any:
        build = markers.to_markers if self._plain_markers else markers.to_marker_bytes
        return build(occupancy, self._frame, parameters.marker_limit, unseen(parameters))


def check(parameters: NodeParameters, grid: VoxelGrid) -> None:
    """Refuse outputs that cannot be published.

    Raises:
        ValueError: the package of a message is not installed, or OctoMap does not fit the grid.
    """
    for name in sorted(OPTIONAL_TYPES.keys() & set(parameters.outputs)):
        try:
            message_class(OPTIONAL_TYPES[name])
            if name == "octomap" and not parameters.map_enabled:
                octree_cells(grid)
        except ValueError as error:
            raise ValueError(f"outputs: '{name}': {error}") from error


def _installed() -> dict[str, Any]:
    """The classes of those optional types that are there."""
    classes = {}
    for name, message_type in OPTIONAL_TYPES.items():
        with suppress(ValueError):
            classes[name] = message_class(message_type)
    return classes


def unseen(parameters: NodeParameters) -> Unseen:
    """What to do with voxels that no camera looks into."""
    return "grey" if parameters.unseen == "grey" else "hide"

"""The processes of the node benchmark: the real node and an ordinary one, both without inference.

Both take six JPEG cameras, prepare 128x352 network input, and publish the same 40,000 voxels as
cloud and markers. The ordinary one is written as tutorials write it: ApproximateTimeSynchronizer,
cv_bridge, a cloud from tuples, markers point by point.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

import cv2
import message_filters
import numpy as np
import rclpy
from cv_bridge import CvBridge
from geometry_msgs.msg import Point
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import CompressedImage, PointCloud2
from sensor_msgs_py import point_cloud2
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from renderocc_ros.config import load_class_set, load_rig
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network_config import load_network_config
from renderocc_ros.node import occupancy_node
from renderocc_ros.occupancy.ros_messages import POINT_FIELDS
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor

GRID = VoxelGrid((-40.0, -40.0, -1.0), 0.4, (200, 200, 16))
VOXELS = 40_000


@lru_cache
def fixed_result() -> SemanticOccupancy:
    """40,000 voxels of all classes, always the same."""
    classes, draw = load_class_set("occ3d"), np.random.default_rng(0)
    labels = np.full(GRID.cell_count, classes.free_id, np.uint8)
    cells = draw.choice(GRID.cell_count, VOXELS, replace=False)
    labels[cells] = draw.integers(0, len(classes), VOXELS)
    confidence = draw.integers(0, 256, GRID.cell_count).astype(np.uint8)
    return SemanticOccupancy(
        0, GRID, classes, labels.reshape(GRID.size), confidence.reshape(GRID.size)
    )


class FixedPredictor:
    """Prepares the images and answers with the fixed result."""

    def __init__(self) -> None:
        import torch

        self.config = load_network_config("nano")
        self.class_set, self.grid = fixed_result().class_set, GRID
        self.device = torch.device("cpu")
        self.timings_ms: dict[str, float] = {}
        self.threshold = self.config.threshold
        self.preprocessor = ImagePreprocessor(self.config.image)

    def predict(self, cameras: CameraSet, planes: Any = ()) -> SemanticOccupancy:
        self.preprocessor(cameras, planes=planes)
        fixed = fixed_result()
        return SemanticOccupancy(
            cameras.stamp_ns, GRID, fixed.class_set, fixed.labels, fixed.confidence
        )

    def reset(self) -> None:
        pass


def ours() -> None:
    """The real node, with the network replaced."""
    occupancy_node.load_predictor = lambda parameters: FixedPredictor()  # type: ignore[assignment,return-value]
    occupancy_node.main(sys.argv[1:])


class OrdinaryNode:
    """The node that one writes first."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("ordinary")
        self.bridge = CvBridge()
        self.image = load_network_config("nano").image
        topics = [f"{camera.image_topic}/compressed" for camera in load_rig("nuscenes").cameras]
        inputs = [message_filters.Subscriber(self.node, CompressedImage, t) for t in topics]
        self.sync = message_filters.ApproximateTimeSynchronizer(inputs, 10, 0.06)
        self.sync.registerCallback(self.on_images)
        self.points = self.node.create_publisher(PointCloud2, "/ordinary/points", 2)
        self.markers = self.node.create_publisher(MarkerArray, "/ordinary/markers", 2)
        self.colours = fixed_result().class_set.colours

    def on_images(self, *messages: Any) -> None:
        np.stack([self.prepared(message) for message in messages])
        fixed = fixed_result()
        cells = np.argwhere(fixed.occupied)
        centres = fixed.grid.centres(cells)
        header = messages[0].header
        header.frame_id = "base_link"
        self.points.publish(self.cloud(header, centres, cells))
        self.markers.publish(self.cubes(header, centres, cells))

    def prepared(self, message: Any) -> Any:
        picture = self.bridge.compressed_imgmsg_to_cv2(message, "rgb8")
        picture = cv2.resize(picture, (self.image.width, self.image.height))
        normalised = (picture - np.array(self.image.mean)) / np.array(self.image.std)
        return normalised.transpose(2, 0, 1).astype(np.float32)

    def cloud(self, header: Any, centres: Any, cells: Any) -> Any:
        fixed = fixed_result()
        rows = []
        for (x, y, z), cell in zip(centres, cells, strict=True):
            label = int(fixed.labels[tuple(cell)])
            r, g, b = (int(value) for value in self.colours[label])
            rgb = np.uint32(r << 16 | g << 8 | b).view(np.float32)
            rows.append((x, y, z, rgb, label, int(fixed.confidence[tuple(cell)])))
        return point_cloud2.create_cloud(header, POINT_FIELDS, rows)

    def cubes(self, header: Any, centres: Any, cells: Any) -> Any:
        marker = Marker(header=header, ns="voxels", type=Marker.CUBE_LIST)
        marker.pose.orientation.w = 1.0
        marker.scale.x = marker.scale.y = marker.scale.z = GRID.resolution_m
        for (x, y, z), cell in zip(centres, cells, strict=True):
            marker.points.append(Point(x=float(x), y=float(y), z=float(z)))
            r, g, b = self.colours[fixed_result().labels[tuple(cell)]] / 255.0
            marker.colors.append(ColorRGBA(r=float(r), g=float(g), b=float(b), a=1.0))
        return MarkerArray(markers=[marker])


def ordinary() -> None:
    """Run the ordinary node."""
    rclpy.init()
    node = OrdinaryNode()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node.node)


if __name__ == "__main__":
    {"ours": ours, "ordinary": ordinary}[sys.argv.pop(1)]()

"""Reading truth back from a bag: key frames with depth, classes, LiDAR and dense occupancy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import CameraModel, RigidTransform, VoxelGrid
from renderocc_ros.occupancy.messages import grid_of, truth_of
from renderocc_ros.rig.cloud_reading import points_of
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.message_content import (
    model_of_info,
    stamp_ns,
    transform_of,
)
from renderocc_training.recording.transform_tree import TransformTree

OCCUPANCY_TOPIC = "/ground_truth/occupancy"
MATCH_NS = 200_000_000  # a depth image belongs to the key frame whose stamp is nearest, within this


@dataclass(frozen=True, eq=False)
class TruthImage:
    """Exact depth and class of one camera.

    Attributes:
        depth_m: (H, W) float64 along the optical axis; zero where unknown.
        class_id: (H, W) uint8, or None where the bag has no class image.
        ego_from_camera: the camera at its own stamp in the ego frame at the key frame's.
    """

    camera: str
    frame: str
    model: CameraModel
    depth_m: NDArray[np.float64]
    class_id: NDArray[np.uint8] | None
    ego_from_camera: RigidTransform


@dataclass(frozen=True, eq=False)
class TruthFrame:
    """One key frame.

    Attributes:
        labels: (X, Y, Z) uint8; ``free_id`` and above hold nothing, or nothing known.
        visible: (X, Y, Z) bool, what the cameras see.
        lidar_points: (N, 3) in the ego frame at ``stamp_ns``, or None.
    """

    stamp_ns: int
    grid: VoxelGrid
    labels: NDArray[np.uint8]
    free_id: int
    visible: NDArray[np.bool_]
    images: tuple[TruthImage, ...]
    lidar_points: NDArray[np.float64] | None
    lidar_labels: NDArray[np.uint8] | None


def truth_frames(path: Path) -> Iterator[TruthFrame]:
    """Key frames of a bag in the order of their stamps.

    Raises:
        ValueError: not a bag, or one without truth; the message says which topics are missing.
    """
    with BagReader(path) as bag:
        topics = bag.topics
        depth_topics = [t for t in topics if _is_truth(t, "depth")]
        missing = [] if OCCUPANCY_TOPIC in topics else [OCCUPANCY_TOPIC]
        if not depth_topics:
            missing.append("/ground_truth/<camera>/depth")
        if missing:
            raise ValueError(
                f"{path} holds no truth: {', '.join(missing)} missing; make a recording with "
                "'renderocc simulate'"
            )
        tree, models = _calibration(bag)
        wanted = [t for t in topics if t.startswith("/ground_truth/")]
        wanted += [t for t, topic in topics.items() if topic.message_type.endswith("/PointCloud2")]
        yield from _frames(bag, wanted, tree, models)


def _is_truth(topic: str, kind: str) -> bool:
    return topic.startswith("/ground_truth/") and topic.endswith(f"/{kind}")


def _calibration(bag: BagReader) -> tuple[TransformTree, dict[str, CameraModel]]:
    """Transforms of the whole recording, and lenses by optical frame."""
    tree, models = TransformTree(), {}
    kinds = ("tf2_msgs/msg/TFMessage", "sensor_msgs/msg/CameraInfo")
    chosen = [name for name, topic in bag.topics.items() if topic.message_type in kinds]
    for recorded in bag.messages(chosen):
        message = bag.decode(recorded)
        if recorded.message_type == kinds[1]:
            models[message.header.frame_id.lstrip("/")] = model_of_info(message)
            continue
        for stamped in message.transforms:
            parent, child = stamped.header.frame_id, stamped.child_frame_id
            static = recorded.topic.endswith("tf_static")
            tree.add(parent, child, stamp_ns(stamped), transform_of(stamped), static)
    return tree, models


def _frames(
    bag: BagReader, topics: list[str], tree: TransformTree, models: dict[str, CameraModel]
) -> Iterator[TruthFrame]:
    """Collects messages until a key frame's neighbours cannot come any more."""
    pending: list[Any] = []  # occupancy messages
    around: dict[str, list[tuple[int, Any]]] = {}
    for recorded in bag.messages(topics):
        if recorded.topic == OCCUPANCY_TOPIC:
            pending.append(bag.decode(recorded))
        elif (
            _is_truth(recorded.topic, "depth")
            or _is_truth(recorded.topic, "classes")
            or (recorded.message_type.endswith("/PointCloud2"))
        ):
            message = bag.decode(recorded)
            around.setdefault(recorded.topic, []).append((stamp_ns(message), message))
        while pending and recorded.log_time_ns > stamp_ns(pending[0]) + MATCH_NS:
            yield _frame(pending.pop(0), around, tree, models)
    for occupancy in pending:
        yield _frame(occupancy, around, tree, models)


def _frame(
    occupancy: Any,
    around: dict[str, list[tuple[int, Any]]],
    tree: TransformTree,
    models: dict[str, CameraModel],
) -> TruthFrame:
    stamp, base = stamp_ns(occupancy), occupancy.header.frame_id
    grid = grid_of(occupancy)
    images, cloud, labels = [], None, None
    for topic in list(around):
        around[topic] = [m for m in around[topic] if m[0] > stamp - 5 * MATCH_NS]
        near = [m for m in around[topic] if abs(m[0] - stamp) <= MATCH_NS]
        if not near or _is_truth(topic, "classes"):
            continue
        taken, message = min(near, key=lambda m: abs(m[0] - stamp))
        frame = message.header.frame_id.lstrip("/")
        ego_from_sensor = _across(tree, base, stamp, frame, taken)
        if not _is_truth(topic, "depth"):
            points = points_of(message)
            local = np.stack([points[axis] for axis in "xyz"], axis=-1).astype(np.float64)
            cloud = ego_from_sensor.apply(local)
            labels = points["label"] if "label" in (points.dtype.names or ()) else None
            continue
        if frame not in models:
            raise ValueError(f"{topic}: no CameraInfo for frame '{frame}' in this bag")
        same = dict(around.get(topic[: -len("depth")] + "classes", ())).get(taken)
        classes = None if same is None else _pixels(same)
        depth = _pixels(message).astype(np.float64) / 1000.0
        camera = topic.split("/")[2]
        images.append(TruthImage(camera, frame, models[frame], depth, classes, ego_from_sensor))
    truth, free_id = truth_of(occupancy), load_class_set(occupancy.class_table).free_id
    return TruthFrame(
        stamp, grid, truth.labels, free_id, truth.mask_camera, tuple(images), cloud, labels
    )


def _across(tree: TransformTree, base: str, stamp: int, frame: str, taken: int) -> RigidTransform:
    """``base(stamp)_from_frame(taken)``, by way of a frame that stands still."""
    fixed = "odom" if "odom" in tree.frames else "map"
    fixed_from_base = tree.lookup(fixed, base, stamp)
    return fixed_from_base.inverse() @ tree.lookup(fixed, frame, taken)


def _pixels(image: Any) -> NDArray[Any]:
    kinds = {"16UC1": np.uint16, "mono8": np.uint8}
    if image.encoding not in kinds:
        raise ValueError(f"truth image encoding '{image.encoding}' is not one of {list(kinds)}")
    data = np.asarray(image.data, np.uint8).view(kinds[image.encoding])
    return data.reshape(image.height, image.width)

"""A bag, instant by instant, for viewers: images, LiDAR, and the voxels that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import RigConfig, load_class_set
from renderocc_ros.network_config import load_network_config
from renderocc_ros.occupancy.messages import class_set_of, occupancy_of
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.cloud_reading import finite_points, points_of
from renderocc_ros.viewing.view_frame import ViewFrame
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.stamped_topic import StampedTopic
from renderocc_training.evaluation.truth_sources import MESSAGE, TOLERANCE_NS, find_truth_topics
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_layout import IMAGE_KINDS
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.left_out import LeftOut

if TYPE_CHECKING:
    from renderocc_ros.prediction import Predictor

CLASSES, CLOUD = "renderocc_ros/msg/SemanticClasses", "sensor_msgs/msg/PointCloud2"
LIDAR_TOLERANCE_NS = 60_000_000  # half a turn of a LiDAR at 8 Hz
IMAGES_OF = "r50"  # without a network, images are as large as this one takes them


class BagFrames:
    """The sets of a bag with all that it holds of their instant; iterate once.

    A bag without images, such as ``evaluate --bag`` writes, gives one frame per message of voxels.

    Args:
        bag: rosbag2 folder, .mcap, .db3 or ROS 1 .bag.
        rig: of the robot.
        predictor: predicts each set; without it the bag's own predictions are shown.
        truth_topic, prediction_topic: SemanticOccupancy topics, "" for none; if not given, the
            one below /ground_truth/ and the only other one.
        lidar_topic: PointCloud2, "" for none; the only one that is no cloud of voxels if not given.

    Attributes:
        skipped: what could not be shown, by (what, why).

    Raises:
        ValueError: no bag, no such topic, or a choice that the bag leaves open.
    """

    def __init__(
        self,
        bag: Path,
        rig: RigConfig,
        predictor: Predictor | None = None,
        truth_topic: str | None = None,
        prediction_topic: str | None = None,
        lidar_topic: str | None = None,
    ) -> None:
        self.skipped = LeftOut()
        self._bag, self._predictor = bag, predictor
        self._sets: RecordedSets | None = None
        with BagReader(bag) as reader:
            kinds = {name: topic.message_type for name, topic in reader.topics.items()}
            truth = None if truth_topic == "" else find_truth_topics(reader, truth_topic)
        self._truth = truth[0] if truth else None
        voxels = [name for name, kind in kinds.items() if kind == MESSAGE]
        candidates = [name for name in voxels if not name.startswith("/ground_truth/")]
        self._prediction = chosen_topic("--prediction-topic", prediction_topic, candidates)
        clouds = [name for name, kind in kinds.items() if kind == CLOUD]
        beside = {f"{name.rpartition('/')[0]}/points" for name in voxels}
        clouds = [name for name in clouds if name not in beside]
        self._lidar = chosen_topic("--lidar-topic", lidar_topic, clouds)
        if any(kind in IMAGE_KINDS.values() for kind in kinds.values()):
            image = predictor.config.image if predictor else load_network_config(IMAGES_OF).image
            self._sets = RecordedSets(bag, rig, image)
        elif not voxels:
            raise ValueError(f"{bag} holds neither images nor voxels ({MESSAGE})")

    def __iter__(self) -> Iterator[ViewFrame]:
        with ExitStack() as stack:
            reader = stack.enter_context(BagReader(self._bag))
            tables = class_tables(reader)
            truth, predicted, lidar = (
                StampedTopic(reader, topic) if topic else None
                for topic in (self._truth, self._prediction, self._lidar)
            )
            if self._sets is None:
                stamps = {t for topic in (truth, predicted) if topic for t in topic.stamps_ns}
                for stamp_ns in sorted(stamps):
                    prediction, true = (_volume(t, stamp_ns, tables) for t in (predicted, truth))
                    yield ViewFrame(stamp_ns, None, prediction, true)
                return
            for cameras in self._sets:
                stamp_ns = cameras.stamp_ns
                predict = self._predictor.predict if self._predictor else None
                yield ViewFrame(
                    stamp_ns,
                    cameras,
                    predict(cameras) if predict else _volume(predicted, stamp_ns, tables),
                    _volume(truth, stamp_ns, tables),
                    self._points(lidar, stamp_ns),
                )
            self.skipped.update(self._sets.skipped)

    def _points(self, lidar: StampedTopic | None, stamp_ns: int) -> NDArray[np.float32] | None:
        """(N, 3) in the ego frame at the stamp; None where there is no scan or no pose."""
        cloud = lidar.nearest(stamp_ns, LIDAR_TOLERANCE_NS) if lidar else None
        if cloud is None or self._sets is None:
            return None
        try:
            points = finite_points(points_of(cloud))
            ego_from_lidar = self._sets.ego_from_sensor(
                stamp_ns, cloud.header.frame_id, content.stamp_ns(cloud)
            )
        except ValueError as error:
            self.skipped.note("LiDAR", str(error))
            return None
        stacked = np.stack([points[axis] for axis in "xyz"], axis=1)
        return ego_from_lidar.apply(stacked).astype(np.float32)


def _volume(
    topic: StampedTopic | None, stamp_ns: int, tables: dict[str, ClassSet]
) -> SemanticOccupancy | None:
    message = topic.nearest(stamp_ns, TOLERANCE_NS) if topic else None
    return None if message is None else volume_of(message, tables)


def volume_of(message: Any, tables: dict[str, ClassSet]) -> SemanticOccupancy:
    """A SemanticOccupancy message; a class set that ``tables`` lacks is a shipped one."""
    name = message.class_table
    if name not in tables:
        tables[name] = load_class_set(name)
    return occupancy_of(message, tables[name])


def class_tables(reader: BagReader) -> dict[str, ClassSet]:
    """Class sets that the bag itself describes, by name."""
    topics = [name for name, topic in reader.topics.items() if topic.message_type == CLASSES]
    class_sets = (class_set_of(reader.decode(message)) for message in reader.messages(topics))
    return {class_set.name: class_set for class_set in class_sets}


def chosen_topic(option: str, chosen: str | None, candidates: list[str]) -> str | None:
    """The chosen topic, or the only one."""
    if chosen:
        if chosen not in candidates:
            raise ValueError(f"{option}: no '{chosen}'; there is {', '.join(candidates) or 'none'}")
        return chosen
    if chosen is None and len(candidates) > 1:
        raise ValueError(f"{option}: choose one of {', '.join(candidates)}, or '' for none")
    return candidates[0] if candidates and chosen is None else None

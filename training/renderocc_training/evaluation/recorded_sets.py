"""A recording as the sets of images that the live node would have got: no ROS, always the same.

Images are matched by the node's own ``StampMatcher``, decoded and reduced as in its inference
thread, and posed by the node's rule: each camera at its own stamp, seen from the robot at the set's
stamp. Only one thing differs: a set waits for its poses by the recording's time, so none is lost
because a machine was slow.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderocc_ros.config import RigConfig
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_for
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_ros.rig.matched_set import MatchedImage, MatchedSet
from renderocc_ros.rig.stamp_matching import StampMatcher
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_reader import BagMessage, BagReader
from renderocc_training.recording.transform_tree import TransformTree
from renderocc_training.sequences.extraction.bag_layout import BagLayout, find_layout
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.report import without_numbers

PATIENCE_NS = 2_000_000_000  # how long, by the recording's time, a set waits for its poses
JUMP_NS = 1_000_000_000
HISTORY_NS = 15_000_000_000


@dataclass(frozen=True, eq=False)
class RecordedImage:
    """An image message as it was recorded.

    Attributes:
        frame: optical frame of the camera.
        model: the calibration that held when it came; None if there was none.
        message: CompressedImage or Image.
    """

    frame: str
    model: CameraModel | None
    message: Any


class RecordedSets:
    """The sets of one bag, in order; iterate once.

    Args:
        bag: a rosbag2 folder, .mcap, .db3 or ROS 1 .bag.
        rig: the robot's cameras; one that the bag lacks is missing in every set.
        image: how the network takes images, which decides how far they may be reduced.
        namespace: of the rig's relative topics.

    Attributes:
        skipped: what did not go into a set, by (what, why).
        problems: what the bag lacks as a whole.

    Raises:
        ValueError: not a bag, or too few of the rig's cameras in it.
    """

    def __init__(self, bag: Path, rig: RigConfig, image: ImageConfig, namespace: str = "") -> None:
        self.skipped: Counter[tuple[str, str]] = Counter()
        self._bag, self._rig = bag, rig
        with BagReader(bag) as reader:
            options = ExtractOptions(lidar="", boxes="", namespace=namespace)
            self._layout: BagLayout = find_layout(reader.topics, rig, options)
            self.duration_s = (reader.end_ns - reader.start_ns) * 1e-9
        self.problems = [text for text in self._layout.problems if "LiDAR" not in text]
        self._preprocessor = ImagePreprocessor(image)
        self._infos: dict[str, CameraModel | None] = {}
        self._tree = TransformTree()
        self._newest_ns: int | None = None
        self._tidied_ns = 0
        self._waiting: deque[tuple[MatchedSet[RecordedImage], int]] = deque()

    def __iter__(self) -> Iterator[CameraSet]:
        with BagReader(self._bag) as reader:
            self._read_ahead(reader)
            matcher: StampMatcher[RecordedImage] = StampMatcher(self._rig)
            for message in reader.messages(self._layout.topics):
                matched = self._take(reader, message, matcher)
                self._waiting.extend((each, message.log_time_ns) for each in matched)
                yield from self._settle(message.log_time_ns)
            self._waiting.extend((each, 0) for each in matcher.flush())
            yield from self._settle(None)
        for (camera, reason), count in matcher.counters.dropped.items():
            self.skipped[f"images of {camera}", reason.value] += count
        for reason, count in matcher.counters.sets_dropped.items():
            self.skipped["sets", reason.value] += count

    def ego_from_sensor(self, stamp_ns: int, frame: str, sensor_stamp_ns: int) -> RigidTransform:
        """From a sensor's frame at its own stamp to the ego frame at a set's stamp.

        Raises:
            ValueError: not known, or not yet: transforms come with the sets.
        """
        base_from_sensor = self._tree.lookup(self._rig.base_frame, frame, sensor_stamp_ns)
        if self._rig.odom_frame is None or sensor_stamp_ns == stamp_ns:
            return base_from_sensor
        there, here = self._odom_from_ego(sensor_stamp_ns), self._odom_from_ego(stamp_ns)
        assert there is not None and here is not None
        return here.inverse() @ there @ base_from_sensor

    # ------------------------------------------------------------------------------- messages in

    def _read_ahead(self, reader: BagReader) -> None:
        """Mounts and first calibrations, which may be recorded after the first images."""
        for message in reader.messages(["/tf_static"]):
            self._add_transforms(reader.decode(message), static=True)
        for topic in self._layout.infos:
            first = next(reader.messages([topic]), None)
            if first is not None:
                self._take_info(reader, first)

    def _take(
        self, reader: BagReader, message: BagMessage, matcher: StampMatcher[RecordedImage]
    ) -> list[MatchedSet[RecordedImage]]:
        topic = message.topic
        try:
            if topic == "/tf":
                self._add_transforms(reader.decode(message), static=False)
            elif topic == self._layout.odometry:
                odometry = reader.decode(message)
                pose, stamp_ns = content.pose_of(odometry.pose.pose), content.stamp_ns(odometry)
                odom = self._rig.odom_frame or odometry.header.frame_id
                self._tree.add(odom, self._rig.base_frame, stamp_ns, pose, static=False)
            elif topic in self._layout.infos:
                self._take_info(reader, message)
            else:
                return self._take_image(reader, message, matcher)
        except ValueError as error:
            self.skipped[topic, without_numbers(str(error))] += 1
        return []

    def _take_info(self, reader: BagReader, message: BagMessage) -> None:
        camera = self._layout.infos[message.topic]
        said = reader.decode(message)
        self._infos[camera.name] = None
        self._infos[camera.name] = content.model_of_info(said, camera.rectified)

    def _take_image(
        self, reader: BagReader, message: BagMessage, matcher: StampMatcher[RecordedImage]
    ) -> list[MatchedSet[RecordedImage]]:
        camera = self._layout.images[message.topic]
        decoded = reader.decode(message)
        image = RecordedImage(
            camera.frame or decoded.header.frame_id,
            self._infos.get(camera.name),
            decoded,
        )
        return matcher.push(camera.name, content.stamp_ns(decoded), image, message.log_time_ns)

    def _add_transforms(self, message: Any, static: bool) -> None:
        for entry in message.transforms:
            stamp_ns = content.stamp_ns(entry)
            if not static:
                self._follow_clock(stamp_ns)
            pose = content.transform_of(entry)
            self._tree.add(entry.header.frame_id, entry.child_frame_id, stamp_ns, pose, static)

    def _follow_clock(self, stamp_ns: int) -> None:
        newest_ns = self._newest_ns
        if newest_ns is not None and stamp_ns < newest_ns - JUMP_NS:
            self._tree.clear_moving()  # poses of the old time line would shadow the new one's
            self.skipped["time line", "set back"] += 1
            newest_ns = None
        self._newest_ns = stamp_ns if newest_ns is None else max(newest_ns, stamp_ns)
        if abs(stamp_ns - self._tidied_ns) > HISTORY_NS:
            self._tree.forget_before(stamp_ns - HISTORY_NS)
            self._tidied_ns = stamp_ns

    # ---------------------------------------------------------------------------------- sets out

    def _settle(self, now_ns: int | None) -> Iterator[CameraSet]:
        """Give out the sets whose poses are known, and those that have waited too long."""
        while self._waiting:
            matched, since_ns = self._waiting[0]
            patient = now_ns is not None and now_ns - since_ns < PATIENCE_NS
            if patient and not self._poses_known(matched):
                return
            self._waiting.popleft()
            camera_set = self._posed(matched)
            if camera_set is not None:
                yield camera_set

    def _poses_known(self, matched: MatchedSet[RecordedImage]) -> bool:
        try:
            for image in matched.present.values():
                self.ego_from_sensor(matched.stamp_ns, image.item.frame, image.stamp_ns)
            self._odom_from_ego(matched.stamp_ns)
        except ValueError:
            return False
        return True

    def _posed(self, matched: MatchedSet[RecordedImage]) -> CameraSet | None:
        posed_images: dict[str, PosedImage] = {}
        try:
            odom_from_ego = self._odom_from_ego(matched.stamp_ns)
        except ValueError as error:
            self.skipped["sets", without_numbers(f"no ego pose: {error}")] += 1
            return None
        for name, image in matched.present.items():
            try:
                pose = self.ego_from_sensor(matched.stamp_ns, image.item.frame, image.stamp_ns)
                posed_images[name] = self._reading(name, image, pose)
            except ValueError as error:
                self.skipped[f"images of {name}", without_numbers(str(error))] += 1
        if len(posed_images) < self._rig.images_needed:
            self.skipped["sets", f"fewer than {self._rig.images_needed} usable images"] += 1
            return None
        slots = tuple(posed_images.get(name) for name in self._rig.names)
        return CameraSet(matched.stamp_ns, self._rig.names, slots, odom_from_ego)

    def _odom_from_ego(self, stamp_ns: int) -> RigidTransform | None:
        if self._rig.odom_frame is None:
            return None
        return self._tree.lookup(self._rig.odom_frame, self._rig.base_frame, stamp_ns)

    def _reading(
        self, name: str, image: MatchedImage[RecordedImage], ego_from_camera: RigidTransform
    ) -> PosedImage:
        model = image.item.model
        if model is None:
            raise ValueError("no usable CameraInfo")
        pixels, model = decode_for(image.item.message, model, self._preprocessor.reduction)
        return PosedImage(name, image.stamp_ns, pixels, model, ego_from_camera)

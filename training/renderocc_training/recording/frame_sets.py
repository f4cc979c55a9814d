"""A recording as posed sets of images, for all who read bags: no ROS, always the same.

Images go through the live node's own matcher, and get their poses by the node's rules: each camera
at its own stamp, seen from the robot at the set's stamp; a transform that comes late is put in its
place; transforms are forgotten where the images' time line is set back, and nowhere else. Two
things differ: time-outs are generous and count in the recording's time, so nothing is lost because
a machine was slow or a message was recorded late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from renderocc_ros.config import CameraConfig
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.calibration import centred
from renderocc_ros.rig.calibration_files import fixed_model
from renderocc_ros.rig.matched_set import MatchedImage, MatchedSet
from renderocc_ros.rig.stamp_matching import StampMatcher
from renderocc_ros.rig.video_stream import PACKET, VideoImage, VideoStream
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_layout import BagLayout
from renderocc_training.recording.bag_poses import BagPoses
from renderocc_training.recording.bag_reader import BagMessage, BagReader
from renderocc_training.recording.left_out import LeftOut

TIMEOUT_NS = 2_000_000_000  # a set waits for its images, then for its poses, so long at the most


@dataclass(frozen=True, eq=False)
class RecordedImage:
    """A camera's image as it was recorded, not decoded.

    Attributes:
        stamp_ns: acquisition time.
        message: sensor_msgs/Image or sensor_msgs/CompressedImage; a picture of a video.
        model: what its CameraInfo says; an image may be smaller, see ``image_decoding.decode_for``.
        base_from_camera: where the camera was on the robot at ``stamp_ns``.
        ego_from_camera: from the camera at ``stamp_ns`` to the ego frame at the set's stamp.
        reused: it belongs to an earlier set.
    """

    stamp_ns: int
    message: Any
    model: CameraModel
    base_from_camera: RigidTransform
    ego_from_camera: RigidTransform
    reused: bool


@dataclass(frozen=True, eq=False)
class FrameSet:
    """Images of one trigger cycle.

    Attributes:
        stamp_ns: as the live node stamps it.
        images: by camera, those with a calibration and a pose; at least one.
        odom_from_ego: at the set's stamp; None for a rig without odometry.
    """

    stamp_ns: int
    images: Mapping[str, RecordedImage]
    odom_from_ego: RigidTransform | None

    @property
    def last_ns(self) -> int:
        """When its last image was taken."""
        return max(image.stamp_ns for image in self.images.values())


@dataclass(frozen=True, eq=False)
class _Arrived:
    """An image with the calibration that held when it came, or why that is of no use."""

    frame: str
    message: Any
    model: CameraModel | None
    problem: str


@dataclass(frozen=True, eq=False)
class _Waiting:
    matched: MatchedSet[_Arrived]
    since_ns: int

    @property
    def images(self) -> dict[str, tuple[str, int]]:
        """Frame and stamp by camera, of the images that are there."""
        present = self.matched.present.items()
        return {name: (image.item.frame, image.stamp_ns) for name, image in present}

    @property
    def last_ns(self) -> int:
        return max(stamp_ns for _, stamp_ns in self.images.values())


class FrameSets:
    """The sets of a bag, in order; iterate once.

    Args:
        reader: the open bag.
        layout: its topics.
        poses: of the bag's rig; they come and are forgotten with the sets.
        left_out: where everything that goes into no set is counted.
        others: takes the messages of other topics, in order with the sets; a ValueError of it is
            counted.
        ready: whether what belongs to a set beside its images is known, called with the stamp of
            its last image.
        advance: called with the log time of every message.
    """

    def __init__(
        self,
        reader: BagReader,
        layout: BagLayout,
        poses: BagPoses,
        left_out: LeftOut,
        others: Mapping[str, Callable[[Any], None]] = MappingProxyType({}),
        ready: Callable[[int], bool] = lambda last_ns: True,
        advance: Callable[[int], None] = lambda log_ns: None,
    ) -> None:
        self._reader, self._layout, self._left_out = reader, layout, left_out
        self._poses, self._others = poses, others
        self._ready, self._advance = ready, advance
        self._matcher: StampMatcher[_Arrived] = StampMatcher(layout.rig, wait_ns=TIMEOUT_NS)
        self._infos: dict[str, tuple[CameraModel | None, str]] = {
            camera.name: (fixed_model(camera), "")
            for camera in layout.rig.cameras
            if camera.calibration is not None
        }
        self._videos = {
            camera.name: VideoStream()
            for topic, camera in layout.images.items()
            if reader.topics[topic].message_type == PACKET
        }
        self._frames: dict[str, str] = {}
        self._waiting: deque[_Waiting] = deque()
        self._now_ns = 0

    def __iter__(self) -> Iterator[FrameSet]:
        self._read_ahead()
        for message in self._reader.messages([*self._layout.topics, *self._others]):
            self._now_ns = message.log_time_ns
            try:
                if message.topic in self._layout.images:
                    yield from self._take_image(message)
                else:
                    self._take(message)
            except ValueError as error:
                self._left_out.note(message.topic, str(error))
            yield from self._settle(self._is_due)
            self._advance(message.log_time_ns)
        for sender in self._layout.images.values():
            if sender.name in self._videos:
                yield from self._take_pictures(sender, self._videos[sender.name].finish())
        self._put(self._matcher.flush())
        yield from self._settle(lambda waiting: True)
        for (camera, reason), count in self._matcher.counters.dropped.items():
            self._left_out.note(f"images of {camera}", f"not matched: {reason.value}", count)
        for reason, count in self._matcher.counters.sets_dropped.items():
            self._left_out.note("sets", reason.value, count)

    # ------------------------------------------------------------------------------- messages in

    def _read_ahead(self) -> None:
        """Mounts and first calibrations, which may be recorded after the first images."""
        if self._layout.tf_static is not None:
            for message in self._reader.messages([self._layout.tf_static]):
                self._poses.add_transforms(self._reader.decode(message), static=True)
        for topic in self._layout.infos:
            first = next(self._reader.messages([topic]), None)
            if first is not None:
                self._take_info(topic, self._reader.decode(first))

    def _take(self, message: BagMessage) -> None:
        topic, decoded = message.topic, self._reader.decode(message)
        if topic == self._layout.tf:
            self._poses.add_transforms(decoded, static=False)
        elif topic == self._layout.odometry:
            self._poses.add_odometry(decoded)
        elif topic in self._layout.infos:
            self._take_info(topic, decoded)
        else:
            self._others[topic](decoded)

    def _take_info(self, topic: str, info: Any) -> None:
        for camera in self._layout.infos[topic]:
            if camera.calibration is not None:
                continue
            try:
                self._infos[camera.name] = content.model_of_info(info, camera.rectified), ""
            except ValueError as error:
                self._infos[camera.name] = None, f"CameraInfo: {error}"

    def _take_image(self, message: BagMessage) -> Iterator[FrameSet]:
        camera = self._layout.images[message.topic]
        decoded = self._reader.decode(message)
        if camera.name in self._videos:
            model, _ = self._infos.get(camera.name, (None, ""))
            pictures = self._videos[camera.name].decode(decoded, model)
            yield from self._take_pictures(camera, pictures)
        else:
            yield from self._match(camera, decoded)

    def _take_pictures(
        self, camera: CameraConfig, pictures: list[VideoImage]
    ) -> Iterator[FrameSet]:
        stream = self._videos[camera.name]
        for problem in stream.problems:
            self._left_out.note(f"images of {camera.name}", problem)
        stream.problems.clear()
        for picture in pictures:
            yield from self._match(camera, picture)

    def _match(self, camera: CameraConfig, decoded: Any) -> Iterator[FrameSet]:
        stamp_ns = content.stamp_ns(decoded)
        if stamp_ns <= 0:
            raise ValueError(f"its stamp is {stamp_ns} ns: the driver is to stamp its images")
        frame = (camera.frame or decoded.header.frame_id).lstrip("/")
        self._frames[camera.name] = frame
        model, problem = self._infos.get(camera.name, (None, "no CameraInfo yet"))
        self._put(self._matcher.tick(self._now_ns))
        jumps = self._matcher.counters.backward_jumps
        arrived = _Arrived(frame, decoded, model, problem)
        matched = self._matcher.push(camera.name, stamp_ns, arrived, self._now_ns)
        if self._matcher.counters.backward_jumps != jumps:
            yield from self._settle(lambda waiting: True)
            self._poses.clear()  # poses of the old time line would shadow the new one's
            self._left_out.note("time line", "set back")
        self._put(matched)

    # ---------------------------------------------------------------------------------- sets out

    def _put(self, sets: list[MatchedSet[_Arrived]]) -> None:
        self._waiting.extend(_Waiting(matched, self._now_ns) for matched in sets)

    def _is_due(self, waiting: _Waiting) -> bool:
        if self._now_ns - waiting.since_ns > TIMEOUT_NS:
            return True
        return (
            self._ready(waiting.last_ns)
            and self._poses.ego_settled(waiting.matched.stamp_ns)
            and all(self._poses.settled(*image) for image in waiting.images.values())
        )

    def _settle(self, due: Callable[[_Waiting], bool]) -> Iterator[FrameSet]:
        while self._waiting and due(self._waiting[0]):
            matched = self._waiting.popleft().matched
            posed = self._posed(matched)
            if posed is not None:
                yield posed
            self._poses.forget_before(matched.stamp_ns)

    def _posed(self, matched: MatchedSet[_Arrived]) -> FrameSet | None:
        images: dict[str, RecordedImage] = {}
        for name, image in matched.present.items():
            try:
                images[name] = self._image(matched.stamp_ns, name, image)
            except ValueError as error:
                self._left_out.note(f"images of {name}", str(error))
        if not images:
            return None
        return FrameSet(matched.stamp_ns, images, self._poses.odom_from_ego(matched.stamp_ns))

    def _image(self, set_ns: int, name: str, image: MatchedImage[_Arrived]) -> RecordedImage:
        arrived, stamp_ns = image.item, image.stamp_ns
        if arrived.model is None:
            raise ValueError(arrived.problem)
        try:
            base_from_camera = self._poses.base_from(arrived.frame, stamp_ns)
            ego_from_camera = self._poses.ego_from(arrived.frame, stamp_ns, set_ns)
        except ValueError as error:
            raise ValueError(f"no pose: {error}") from error
        model, base_from_camera = centred(arrived.model, base_from_camera, name, self._frames)
        _, ego_from_camera = centred(arrived.model, ego_from_camera, name, self._frames)
        return RecordedImage(
            stamp_ns, arrived.message, model, base_from_camera, ego_from_camera, image.reused
        )

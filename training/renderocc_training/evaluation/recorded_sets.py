"""A recording as the sets of decoded images that the live node would have got."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from renderocc_ros.config import RigConfig
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_for
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.recording.bag_layout import NO_CHOICE, BagLayout, TopicOptions, find_layout
from renderocc_training.recording.bag_poses import BagPoses
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.frame_sets import FrameSet, FrameSets
from renderocc_training.recording.left_out import LeftOut


class RecordedSets:
    """The sets of one bag, in order; iterate once.

    Args:
        bag: a rosbag2 folder, .mcap, .db3 or ROS 1 .bag.
        rig: the robot's cameras; one that the bag lacks is missing in every set.
        image: how the network takes images, which decides how far they may be reduced.
        topics: what is read where the bag leaves a choice; LiDAR and boxes never are.

    Attributes:
        skipped: what did not go into a set.
        problems: what the bag lacks as a whole.

    Raises:
        ValueError: not a bag, or too few of the rig's cameras in it.
    """

    def __init__(
        self, bag: Path, rig: RigConfig, image: ImageConfig, topics: TopicOptions = NO_CHOICE
    ) -> None:
        self.skipped = LeftOut()
        self._bag, self._rig = bag, rig
        with BagReader(bag) as reader:
            options = topics.model_copy(update={"lidar": "", "boxes": ""})
            self._layout: BagLayout = find_layout(reader.topics, rig, options)
            self.duration_s = (reader.end_ns - reader.start_ns) * 1e-9
        self.problems = [text for text in self._layout.problems if "LiDAR" not in text]
        self._preprocessor = ImagePreprocessor(image)
        self._poses = BagPoses(self._layout, self.skipped)

    def __iter__(self) -> Iterator[CameraSet]:
        with BagReader(self._bag) as reader:
            for frame_set in FrameSets(reader, self._layout, self._poses, self.skipped):
                camera_set = self._decoded(frame_set)
                if camera_set is not None:
                    yield camera_set

    def ego_from_sensor(self, stamp_ns: int, frame: str, sensor_stamp_ns: int) -> RigidTransform:
        """From a sensor's frame at its own stamp to the ego frame at a set's stamp.

        Raises:
            ValueError: not known, or not yet: transforms come with the sets.
        """
        return self._poses.ego_from(frame, sensor_stamp_ns, stamp_ns)

    def _decoded(self, frame_set: FrameSet) -> CameraSet | None:
        """Without the images that cannot be decoded; None if too few are left."""
        posed: dict[str, PosedImage] = {}
        for name, image in frame_set.images.items():
            try:
                pixels, model = decode_for(image.message, image.model, self._preprocessor.reduction)
            except ValueError as error:
                self.skipped.note(f"images of {name}", str(error))
                continue
            posed[name] = PosedImage(name, image.stamp_ns, pixels, model, image.ego_from_camera)
        if len(posed) < self._rig.images_needed:
            self.skipped.note("sets", f"fewer than {self._rig.images_needed} usable images")
            return None
        images = tuple(posed.get(name) for name in self._rig.names)
        return CameraSet(frame_set.stamp_ns, self._rig.names, images, frame_set.odom_from_ego)

"""Key frames of a recorded sequence as sets of images."""

from __future__ import annotations

from collections.abc import Iterator

from renderocc_ros.config import RigConfig
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.recording.left_out import LeftOut
from renderocc_training.sequences.model import Frame, RecordedSequence
from renderocc_training.sequences.sensor_files import read_image


class SequenceSets:
    """(token, set) of every key frame of a sequence, in the ego frame of its labels and truth.

    Args:
        rig: cameras by their names; one that a frame lacks is missing in its set.

    Attributes:
        skipped: what did not go into a set, by (what, why).
    """

    def __init__(self, sequence: RecordedSequence, rig: RigConfig, image: ImageConfig) -> None:
        self.skipped = LeftOut()
        self._sequence, self._rig = sequence, rig
        self._preprocessor = ImagePreprocessor(image)

    def __iter__(self) -> Iterator[tuple[str, CameraSet]]:
        for frame in self._sequence.frames:
            camera_set = self._set(frame)
            if camera_set is not None:
                yield frame.token, camera_set

    def _set(self, frame: Frame) -> CameraSet | None:
        ego_from_world = frame.world_from_ego.inverse()
        images = {camera.name: camera for camera in frame.cameras if camera is not None}
        posed_images: dict[str, PosedImage] = {}
        for name in self._rig.names:
            if name not in images:
                self.skipped.note(f"images of {name}", "not in the key frame")
                continue
            try:
                posed_images[name] = read_image(images[name], ego_from_world, self._preprocessor)
            except ValueError as error:
                self.skipped.note(f"images of {name}", str(error))
        needed = self._rig.images_needed
        if len(posed_images) < needed:
            self.skipped.note("sets", f"fewer than {needed} usable images")
            return None
        slots = tuple(posed_images.get(name) for name in self._rig.names)
        return CameraSet(frame.stamp_ns, self._rig.names, slots, frame.world_from_ego)

"""One recording, read once from start to end, into one or more scenes.

Images go through the live node's own stamp matching. A matched set waits until the poses at all
its stamps are known, then it becomes a key frame or sweeps. What waits is bounded by time, so
memory does not grow with the recording. Where the clock jumps or the drive is interrupted, a new
scene begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.calibration import scaled_to_image
from renderocc_ros.rig.matched_set import MatchedSet
from renderocc_ros.rig.stamp_matching import StampMatcher
from renderocc_training.recording import boxes as box_messages
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_reader import BagMessage, BagReader
from renderocc_training.recording.boxes import Box
from renderocc_training.sequences.extraction.bag_layout import BagLayout
from renderocc_training.sequences.extraction.key_frames import KeyFrameRule
from renderocc_training.sequences.extraction.occupancy_truth import OccupancyTruth
from renderocc_training.sequences.extraction.pose_source import PoseSource
from renderocc_training.sequences.extraction.readings import (
    ImageFile,
    Reading,
    finite_points,
    image_file,
    label_file,
    lidar_file,
    point_label_file,
)
from renderocc_training.sequences.extraction.report import ExtractionReport, without_numbers
from renderocc_training.sequences.extraction.scene_writer import SceneWriter

PATIENCE_NS = 2_000_000_000  # how long a set waits for the poses at its stamps
LIDAR_WINDOW_NS = 100_000_000  # a scan this near to the set's last image belongs to it
BOX_WINDOW_NS = 10_000_000
INTERRUPTION_NS = 10_000_000_000  # a gap that ends a scene; nothing waits longer
LIDAR_CHANNEL = "LIDAR_TOP"
LABEL_FOLDER = "labels"


@dataclass(frozen=True, eq=False)
class _Shot:
    """An image with the calibration that held when it came."""

    file: ImageFile
    model: CameraModel
    frame: str


@dataclass(frozen=True, eq=False)
class _Scan:
    """A LiDAR reading that waits for its place."""

    stamp_ns: int
    frame: str
    content: bytes


@dataclass(frozen=True, eq=False)
class _Pending:
    """A set that waits for its poses and its LiDAR scan."""

    images: MatchedSet[_Shot]
    arrived_ns: int

    @property
    def last_ns(self) -> int:
        return max(image.stamp_ns for image in self.images.images if image is not None)


class BagExtractor:
    """Turns one open recording into scenes.

    Args:
        reader: the recording.
        layout: its topics.
        rule: which sets become key frames.
        new_scene: gives the writer of the next scene.
        root: the data set's folder, for labels and 3D truth.
        sweeps: keep what lies between key frames.
        report: where everything left out is counted.
    """

    def __init__(
        self,
        reader: BagReader,
        layout: BagLayout,
        rule: KeyFrameRule,
        new_scene: Callable[[], SceneWriter],
        root: Path,
        sweeps: bool,
        report: ExtractionReport,
    ) -> None:
        self._reader, self._layout, self._rule = reader, layout, rule
        self._new_scene, self._root = new_scene, root
        self._sweeps, self._report = sweeps, report
        self._matcher: StampMatcher[_Shot] = StampMatcher(layout.rig)
        self._poses = PoseSource(layout.rig, report)
        self._infos: dict[str, Any] = {}
        self._pending: deque[_Pending] = deque()
        self._scans: deque[_Scan] = deque()
        self._boxes: deque[tuple[int, list[Box], str]] = deque()
        self._boxes_until_ns = 0
        self._truth = OccupancyTruth(root, layout.occupancy) if layout.occupancy else None
        self._scene: SceneWriter | None = None
        self._last_set_ns: int | None = None
        self._now_ns = 0

    def run(self, advance: Callable[[int], None]) -> None:
        """Read everything.

        Args:
            advance: told the log time of every message.
        """
        self._read_ahead()
        truth_topics = self._truth.topics if self._truth else []
        for message in self._reader.messages([*self._layout.topics, *truth_topics]):
            self._now_ns = message.log_time_ns
            try:
                self._take(message)
            except ValueError as error:
                self._report.skip(message.topic, without_numbers(str(error)))
            self._settle(self._is_ready)
            advance(message.log_time_ns)
        self._enqueue(self._matcher.flush())
        self._settle(lambda pending: True)
        self._flush_scans(None)
        self._end_scene()
        for (camera, reason), count in self._matcher.counters.dropped.items():
            self._report.skip(camera, f"not matched: {reason.value}", count)

    def _read_ahead(self) -> None:
        """Mounts and first calibrations, which may be recorded after the first images."""
        for message in self._reader.messages(["/tf_static"]):
            self._poses.add_transforms(self._reader.decode(message), static=True)
        for topic, camera in self._layout.infos.items():
            first = next(self._reader.messages([topic]), None)
            if first is not None:
                self._infos[camera.name] = self._reader.decode(first)

    # ------------------------------------------------------------------------------- messages in

    def _take(self, message: BagMessage) -> None:
        topic, decoded = message.topic, self._reader.decode(message)
        if topic == "/tf":
            if self._poses.jumps(decoded):
                self._settle(lambda pending: True)
            self._poses.add_transforms(decoded, static=False)
        elif topic == self._layout.odometry:
            self._poses.add_odometry(decoded)
        elif topic in self._layout.infos:
            self._infos[self._layout.infos[topic].name] = decoded
        elif topic in self._layout.images:
            self._take_image(message, decoded)
        elif topic == self._layout.lidar:
            self._take_scan(decoded)
        elif topic == self._layout.boxes:
            self._take_boxes(decoded)
        elif self._truth is not None and topic in self._truth.topics:
            self._truth.take(topic, decoded)
        else:
            self._take_label(*self._layout.labels[topic], decoded)

    def _take_image(self, message: BagMessage, decoded: Any) -> None:
        camera = self._layout.images[message.topic]
        info = self._infos.get(camera.name)
        if info is None:
            raise ValueError("no CameraInfo yet")
        file = image_file(decoded)
        model = content.model_of_info(info, camera.rectified)
        model = scaled_to_image(model, file.width, file.height)
        frame = camera.frame or decoded.header.frame_id
        shot = _Shot(file, model, frame)
        stamp_ns = content.stamp_ns(decoded)
        self._enqueue(self._matcher.push(camera.name, stamp_ns, shot, message.log_time_ns))

    def _take_scan(self, cloud: Any) -> None:
        stamp_ns = content.stamp_ns(cloud)
        points = content.points_of(cloud)
        kept = finite_points(points)
        self._report.skip("LiDAR points", "not finite", len(points) - len(kept))
        if self._scans and stamp_ns <= self._scans[-1].stamp_ns:
            if self._scans[-1].stamp_ns - stamp_ns < INTERRUPTION_NS:
                raise ValueError("stamp not after the one before")
            self._flush_scans(None)  # the clock was set back
        self._scans.append(_Scan(stamp_ns, cloud.header.frame_id, lidar_file(kept)))
        labels = point_label_file(kept)
        if labels is not None:
            self._write_label(f"points/{LIDAR_CHANNEL}", stamp_ns, "label", labels)
        while stamp_ns - self._scans[0].stamp_ns > INTERRUPTION_NS:
            self._flush_scans(self._scans[1])

    def _take_boxes(self, array: Any) -> None:
        stamp_ns = content.stamp_ns(array)
        self._boxes_until_ns = stamp_ns
        self._boxes.append((stamp_ns, box_messages.boxes_of(array), array.header.frame_id))
        while len(self._boxes) > 100:
            self._boxes.popleft()

    def _take_label(self, kind: str, camera: str, decoded: Any) -> None:
        self._write_label(f"{kind}/{camera}", content.stamp_ns(decoded), "png", label_file(decoded))

    def _write_label(self, folder: str, stamp_ns: int, suffix: str, file: bytes) -> None:
        path = self._root / LABEL_FOLDER / folder / f"{stamp_ns // 1000}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file)
        self._report.labels += 1

    # ---------------------------------------------------------------------------------- sets out

    def _enqueue(self, sets: list[MatchedSet[_Shot]]) -> None:
        self._pending.extend(_Pending(images, self._now_ns) for images in sets)

    def _is_ready(self, pending: _Pending) -> bool:
        if self._now_ns - pending.arrived_ns > PATIENCE_NS:
            return True
        if self._layout.lidar and not (self._scans and self._scans[-1].stamp_ns >= pending.last_ns):
            return False
        scan = self._scan_of(pending)
        last_ns = max(pending.last_ns, scan.stamp_ns if scan else 0)
        if self._layout.boxes and self._boxes_until_ns < last_ns:
            return False
        if self._truth is not None and not self._truth.known_until(last_ns):
            return False
        return self._poses.known_until(last_ns)

    def _settle(self, ready: Callable[[_Pending], bool]) -> None:
        while self._pending and ready(self._pending[0]):
            self._place(self._pending.popleft())

    def _place(self, pending: _Pending) -> None:
        """Write a set as key frame or as sweeps."""
        stamp_ns = pending.images.stamp_ns
        last_ns, self._last_set_ns = self._last_set_ns, stamp_ns
        if last_ns is not None and not 0 < stamp_ns - last_ns < INTERRUPTION_NS:
            self._end_scene()
        scan = self._scan_of(pending)
        readings = list(self._readings(pending))
        lidar = self._lidar_reading(scan) if scan else None
        if not readings:
            return
        whole = len(readings) == len(pending.images.names)
        whole = whole and (lidar is not None or not self._layout.lidar)
        enough = len(readings) >= self._layout.rig.sync.min_cameras
        place_m = readings[0].world_from_ego.translation
        if self._rule.takes(stamp_ns, place_m, whole, enough):
            self._flush_scans(scan)
            if scan is not None:
                self._scans.popleft()
            self._write_key_frame(stamp_ns, readings, lidar)
        else:
            self._write_sweeps(readings)
            self._flush_scans(scan)

    def _readings(self, pending: _Pending) -> Iterator[Reading]:
        for name, image in zip(pending.images.names, pending.images.images, strict=True):
            if image is None or image.reused:
                self._report.skip("sets", f"without {name}")
                continue
            shot, stamp_ns = image.item, image.stamp_ns
            try:
                ego_from_camera = self._poses.ego_from(shot.frame, stamp_ns)
                world_from_ego = self._poses.world_from_ego(stamp_ns)
            except ValueError as error:
                self._report.skip(name, without_numbers(f"no pose: {error}"))
                continue
            yield Reading(
                name,
                stamp_ns,
                shot.file.content,
                shot.file.suffix,
                ego_from_camera,
                world_from_ego,
                shot.model,
            )

    def _lidar_reading(self, scan: _Scan) -> Reading | None:
        try:
            ego_from_lidar = self._poses.ego_from(scan.frame, scan.stamp_ns)
            world_from_ego = self._poses.world_from_ego(scan.stamp_ns)
        except ValueError as error:
            self._report.skip("LiDAR", without_numbers(f"no pose: {error}"))
            return None
        return Reading(
            LIDAR_CHANNEL, scan.stamp_ns, scan.content, "pcd.bin", ego_from_lidar, world_from_ego
        )

    def _write_key_frame(
        self, stamp_ns: int, readings: list[Reading], lidar: Reading | None
    ) -> None:
        if self._scene is None:
            self._scene = self._new_scene()
        if lidar is not None:
            stamp_ns = lidar.stamp_ns
            readings = [*readings, lidar]
        sample = self._scene.add_key_frame(stamp_ns, readings, self._boxes_at(stamp_ns))
        if self._truth is not None:
            try:
                self._truth.write(self._scene.identity.name, sample, stamp_ns)
                self._report.occupancies += 1
            except ValueError as error:
                self._report.skip("3D truth", str(error))

    def _write_sweeps(self, readings: list[Reading]) -> None:
        for reading in readings:
            if not self._sweeps:
                self._report.skip(reading.channel, "between key frames")
            elif self._scene is None:
                self._report.skip(reading.channel, "before the first key frame")
            else:
                self._scene.add_sweep(reading)

    def _scan_of(self, pending: _Pending) -> _Scan | None:
        """The scan nearest to the last image: a LiDAR's stamp is the end of its turn."""
        near = [
            scan for scan in self._scans if abs(scan.stamp_ns - pending.last_ns) <= LIDAR_WINDOW_NS
        ]
        return min(near, key=lambda scan: abs(scan.stamp_ns - pending.last_ns), default=None)

    def _flush_scans(self, until: _Scan | None) -> None:
        """Write the scans before this one, or all, as sweeps."""
        while self._scans and self._scans[0] is not until:
            reading = self._lidar_reading(self._scans.popleft())
            if reading is not None:
                self._write_sweeps([reading])

    def _boxes_at(self, stamp_ns: int) -> list[Box]:
        while self._boxes and self._boxes[0][0] < stamp_ns - BOX_WINDOW_NS:
            self._boxes.popleft()
        if not self._boxes or self._boxes[0][0] > stamp_ns + BOX_WINDOW_NS:
            if self._layout.boxes:
                self._report.skip("boxes", "none at the time of a key frame")
            return []
        at_ns, found, frame = self._boxes[0]
        try:
            return self._poses.boxes_in_world(found, frame, at_ns)
        except ValueError as error:
            self._report.skip("boxes", without_numbers(str(error)))
            return []

    def _end_scene(self) -> None:
        if self._scene is not None:
            self._scene.close()
            self._scene = None
        self._rule.restart()

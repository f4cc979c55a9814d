"""One recording, read once from start to end, into one or more scenes.

A posed set of images waits until its LiDAR scan, its boxes and its truth are known, then it becomes
a key frame or sweeps. What waits is bounded by time, so memory does not grow with the recording.
Where the clock jumps or the sequence is interrupted, a new scene begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from renderocc_ros.files import write_bytes
from renderocc_ros.rig.cloud_reading import finite_points, points_of
from renderocc_ros.rig.image_decoding import model_of_image
from renderocc_training.recording import boxes as box_messages
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_layout import BagLayout
from renderocc_training.recording.bag_poses import BagPoses
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.boxes import Box
from renderocc_training.recording.frame_sets import FrameSet, FrameSets
from renderocc_training.sequences.extraction.key_frames import KeyFrameRule
from renderocc_training.sequences.extraction.occupancy_truth import OccupancyTruth
from renderocc_training.sequences.extraction.readings import (
    Reading,
    image_file,
    label_file,
    lidar_file,
    point_label_file,
)
from renderocc_training.sequences.extraction.report import ExtractionReport
from renderocc_training.sequences.extraction.scene_writer import SceneWriter, measurement_name
from renderocc_training.sequences.model import LABEL_FOLDER

LIDAR_WINDOW_NS = 100_000_000  # a scan this near to the set's last image belongs to it
BOX_WINDOW_NS = 10_000_000
INTERRUPTION_NS = 10_000_000_000  # a gap that ends a scene; nothing waits longer
LIDAR_CHANNEL = "LIDAR_TOP"


@dataclass(frozen=True, eq=False)
class _Scan:
    """A LiDAR reading that waits for its place."""

    stamp_ns: int
    frame: str
    content: bytes


class BagExtractor:
    """Turns one open recording into scenes.

    Args:
        reader: the recording.
        layout: its topics.
        rule: which sets become key frames.
        new_scene: gives the writer of the next scene.
        root: the data set's folder, for labels and 3D truth.
        log: what names of files begin with.
        sweeps: keep what lies between key frames.
        report: where everything left out is counted.

    Raises:
        ValueError: the rig names no odometry frame.
    """

    def __init__(
        self,
        reader: BagReader,
        layout: BagLayout,
        rule: KeyFrameRule,
        new_scene: Callable[[], SceneWriter],
        root: Path,
        log: str,
        sweeps: bool,
        report: ExtractionReport,
    ) -> None:
        rig = layout.rig
        if rig.odom_frame is None:
            raise ValueError(
                f"rig '{rig.name}': odom_frame is null, so nothing says where the robot was; name "
                "the frame of its odometry"
            )
        self._reader, self._layout, self._rule = reader, layout, rule
        self._new_scene, self._root, self._log = new_scene, root, log
        self._sweeps, self._report = sweeps, report
        self._poses = BagPoses(layout, report.skipped)
        self._scans: deque[_Scan] = deque()
        self._boxes: deque[tuple[int, list[Box], str]] = deque()
        self._boxes_until_ns = 0
        self._truth = OccupancyTruth(root, layout.occupancy) if layout.occupancy else None
        self._scene: SceneWriter | None = None
        self._last_set_ns: int | None = None

    def run(self, advance: Callable[[int], None]) -> None:
        """Read everything.

        Args:
            advance: called with the log time of every message.
        """
        for frame_set in FrameSets(
            self._reader,
            self._layout,
            self._poses,
            self._report.skipped,
            self._others(),
            self._is_ready,
            advance,
        ):
            self._place(frame_set)
        self._flush_scans(None)
        self._end_scene()

    # ------------------------------------------------------------------------------- messages in

    def _others(self) -> dict[str, Callable[[Any], None]]:
        """What takes the messages of each topic beside images and poses."""
        others: dict[str, Callable[[Any], None]] = {}
        if self._layout.lidar:
            others[self._layout.lidar] = self._take_scan
        if self._layout.boxes:
            others[self._layout.boxes] = self._take_boxes
        if self._truth is not None:
            others |= {topic: partial(self._truth.take, topic) for topic in self._truth.topics}
        for topic, (kind, camera) in self._layout.labels.items():
            others[topic] = partial(self._take_label, kind, camera)
        return others

    def _take_scan(self, cloud: Any) -> None:
        stamp_ns = content.stamp_ns(cloud)
        points = points_of(cloud)
        kept = finite_points(points)
        self._report.skip("LiDAR points", "not finite", len(points) - len(kept))
        if self._scans and stamp_ns <= self._scans[-1].stamp_ns:
            if self._scans[-1].stamp_ns - stamp_ns < INTERRUPTION_NS:
                raise ValueError("stamp not after the one before")
            self._flush_scans(None)  # the clock was set back
        self._scans.append(_Scan(stamp_ns, cloud.header.frame_id, lidar_file(kept)))
        labels = point_label_file(kept)
        if labels is not None:
            self._write_label("points", LIDAR_CHANNEL, stamp_ns, "label", labels)
        while stamp_ns - self._scans[0].stamp_ns > INTERRUPTION_NS:
            self._flush_scans(self._scans[1])

    def _take_boxes(self, array: Any) -> None:
        stamp_ns = content.stamp_ns(array)
        self._boxes_until_ns = stamp_ns
        self._boxes.append((stamp_ns, box_messages.boxes_of(array), array.header.frame_id))
        while len(self._boxes) > 100:
            self._boxes.popleft()

    def _take_label(self, kind: str, camera: str, decoded: Any) -> None:
        self._write_label(kind, camera, content.stamp_ns(decoded), "png", label_file(decoded))

    def _write_label(
        self, kind: str, channel: str, stamp_ns: int, suffix: str, file: bytes
    ) -> None:
        name = measurement_name(self._log, channel, stamp_ns)
        path = self._root / LABEL_FOLDER / kind / channel / f"{name}.{suffix}"
        write_bytes(path, file, durable=False)
        self._report.labels += 1

    # ---------------------------------------------------------------------------------- sets out

    def _is_ready(self, last_ns: int) -> bool:
        """Whether all is known that belongs to a set whose last image has this stamp."""
        if self._layout.lidar and not (self._scans and self._scans[-1].stamp_ns >= last_ns):
            return False
        scan = self._scan_at(last_ns)
        last_ns = max(last_ns, scan.stamp_ns if scan else 0)
        if self._layout.boxes and self._boxes_until_ns < last_ns:
            return False
        if self._truth is not None and not self._truth.known_until(last_ns):
            return False
        return self._poses.ego_settled(last_ns)

    def _place(self, frame_set: FrameSet) -> None:
        """Write a set as key frame or as sweeps."""
        stamp_ns = frame_set.stamp_ns
        last_ns, self._last_set_ns = self._last_set_ns, stamp_ns
        if last_ns is not None and not 0 < stamp_ns - last_ns < INTERRUPTION_NS:
            self._end_scene()
        scan = self._scan_at(frame_set.last_ns)
        readings = list(self._readings(frame_set))
        lidar = self._lidar_reading(scan) if scan else None
        if not readings:
            return
        whole = len(readings) == len(self._layout.rig.names)
        whole = whole and (lidar is not None or not self._layout.lidar)
        enough = len(readings) >= self._layout.rig.images_needed
        place_m = readings[0].world_from_ego.translation
        if self._rule.takes(stamp_ns, place_m, whole, enough):
            self._flush_scans(scan)
            if scan is not None:
                self._scans.popleft()
            self._write_key_frame(stamp_ns, readings, lidar)
        else:
            self._write_sweeps(readings)
            self._flush_scans(scan)

    def _readings(self, frame_set: FrameSet) -> Iterator[Reading]:
        for name in self._layout.rig.names:
            image = frame_set.images.get(name)
            if image is None or image.reused:
                self._report.skip("sets", f"without {name}")
                continue
            try:
                file = image_file(image.message)
                model = model_of_image(image.model, (file.width, file.height))
            except ValueError as error:
                self._report.skip(f"images of {name}", str(error))
                self._report.skip("sets", f"without {name}")
                continue
            yield Reading(
                name,
                image.stamp_ns,
                file.content,
                file.suffix,
                image.base_from_camera,
                self._poses.world_from_ego(image.stamp_ns),
                model,
            )

    def _lidar_reading(self, scan: _Scan) -> Reading | None:
        try:
            ego_from_lidar = self._poses.base_from(scan.frame, scan.stamp_ns)
            world_from_ego = self._poses.world_from_ego(scan.stamp_ns)
        except ValueError as error:
            self._report.skip("LiDAR", f"no pose: {error}")
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

    def _scan_at(self, last_ns: int) -> _Scan | None:
        """The scan nearest to a set's last image: a LiDAR's stamp is the end of its sweep."""
        near = [scan for scan in self._scans if abs(scan.stamp_ns - last_ns) <= LIDAR_WINDOW_NS]
        return min(near, key=lambda scan: abs(scan.stamp_ns - last_ns), default=None)

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
        at_ns, boxes, frame = self._boxes[0]
        try:
            return self._poses.boxes_in_world(boxes, frame, at_ns)
        except ValueError as error:
            self._report.skip("boxes", str(error))
            return []

    def _end_scene(self) -> None:
        if self._scene is not None:
            self._scene.close()
            self._scene = None
        self._rule.restart()

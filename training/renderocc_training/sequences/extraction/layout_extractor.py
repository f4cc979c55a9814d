"""The sequences of a data set in another layout, into scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from renderocc_ros.files import write_bytes
from renderocc_ros.rig.image_decoding import model_of_image, read_header
from renderocc_training.sequences.extraction.key_frames import KeyFrameRule
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.readings import Reading
from renderocc_training.sequences.extraction.report import ExtractionReport
from renderocc_training.sequences.extraction.scene_writer import SceneWriter, measurement_name
from renderocc_training.sequences.model import (
    LABEL_FOLDER,
    CameraImage,
    Frame,
    LidarSweep,
    RecordedSequence,
    SensorFile,
)
from renderocc_training.sequences.sensor_files import pcd_bytes, read_point_labels

POINT_BYTES = 20  # of a .pcd.bin


class SequenceExtractor:
    """Writes one sequence; key frames are the data set's own, or by the options.

    Args:
        root: folder of the new data set.
        scene: takes key frames and sweeps.

    Raises:
        ValueError: a file is missing or damaged.
    """

    def __init__(
        self, root: Path, scene: SceneWriter, options: ExtractOptions, report: ExtractionReport
    ) -> None:
        self._root, self._scene, self._options, self._report = root, scene, options, report
        self._rule = KeyFrameRule(options.key_frame_s, options.key_frame_m)

    def run(self, sequence: RecordedSequence, advance: Callable[[], None]) -> None:
        """Read and write it; ``advance`` is told of every frame."""
        self._report.problems += sequence.problems
        for frame in sequence.frames:
            place_m = frame.world_from_ego.translation
            is_key = sequence.has_key_frames or self._rule.takes(
                frame.stamp_ns, place_m, whole=True, enough=True
            )
            self._write(frame, is_key)
            advance()
        self._scene.close()

    def _write(self, frame: Frame, is_key: bool) -> None:
        for each in (*frame.between, *(() if is_key else frame.measurements)):
            if not self._options.sweeps:
                self._report.skip(each.name, "between key frames")
            elif not self._scene.key_frames:
                self._report.skip(each.name, "before the first key frame")
            elif (reading := self._read(each)) is not None:
                self._scene.add_sweep(reading)
        if is_key:
            readings = [self._read(each) for each in frame.measurements]
            kept = [reading for reading in readings if reading is not None]
            self._scene.add_key_frame(frame.stamp_ns, kept, frame.boxes)

    def _read(self, measured: SensorFile) -> Reading | None:
        """A measurement; None for an image that cannot be used, which is counted."""
        if isinstance(measured, LidarSweep):
            content, suffix, camera = pcd_bytes(measured), "pcd.bin", None
            if measured.labels is not None:
                self._write_point_labels(measured, len(content) // POINT_BYTES)
        else:
            assert isinstance(measured, CameraImage)
            content, suffix = measured.file.read_bytes(), measured.file.suffix[1:]
            try:
                camera = model_of_image(measured.model, read_header(content)[1])
            except ValueError as error:
                self._report.skip(f"images of {measured.name}", f"{measured.file}: {error}")
                return None
        return Reading(
            measured.name,
            measured.stamp_ns,
            content,
            suffix,
            measured.ego_from_sensor,
            measured.world_from_ego,
            camera,
        )

    def _write_point_labels(self, sweep: LidarSweep, points: int) -> None:
        """As SemanticKITTI keeps them; its own keep the instances in the upper 16 bits."""
        assert sweep.labels is not None
        try:
            labels = read_point_labels(sweep.labels, points)
        except ValueError as error:
            self._report.skip(f"point labels of {sweep.name}", str(error))
            return
        name = measurement_name(self._scene.identity.log, sweep.name, sweep.stamp_ns)
        file = self._root / LABEL_FOLDER / "points" / sweep.name / f"{name}.label"
        own = sweep.labels.suffix == file.suffix
        content = sweep.labels.read_bytes() if own else labels.astype("<u4").tobytes()
        write_bytes(file, content, durable=False)
        self._report.labels += 1

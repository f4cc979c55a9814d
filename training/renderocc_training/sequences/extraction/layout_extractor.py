"""The drives of a data set in another layout, into scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from renderocc_training.sequences.extraction.key_frames import KeyFrameRule
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.readings import Reading
from renderocc_training.sequences.extraction.report import ExtractionReport
from renderocc_training.sequences.extraction.scene_writer import SceneWriter
from renderocc_training.sequences.layouts.drive import LayoutDrive, LayoutFrame


def drives_of(source: Path, layout: str) -> list[LayoutDrive]:
    """The drives of a data set.

    Args:
        layout: nuscenes, semantickitti or ddad.
    """
    if layout == "nuscenes":  # needs nuscenes-devkit, the others do not
        from renderocc_training.sequences.layouts.nuscenes import nuscenes_drives

        return nuscenes_drives(source)
    if layout == "semantickitti":
        from renderocc_training.sequences.layouts.semantickitti import semantickitti_drives

        return semantickitti_drives(source)
    from renderocc_training.sequences.layouts.ddad import ddad_drives

    return ddad_drives(source)


def extract_drive(
    drive: LayoutDrive,
    scene: SceneWriter,
    write_point_labels: Callable[[Reading, bytes], None],
    options: ExtractOptions,
    report: ExtractionReport,
    advance: Callable[[], None],
) -> None:
    """Write one drive; key frames are the data set's own, or by the options."""
    rule = KeyFrameRule(options.key_frame_s, options.key_frame_m)
    report.problems += drive.problems
    for frame in drive.frames():
        _extract_frame(frame, rule, scene, options, report)
        for reading in frame.readings:
            if reading.camera is None and frame.point_labels is not None:
                write_point_labels(reading, frame.point_labels)
                report.labels += 1
        advance()
    scene.close()


def _extract_frame(
    frame: LayoutFrame,
    rule: KeyFrameRule,
    scene: SceneWriter,
    options: ExtractOptions,
    report: ExtractionReport,
) -> None:
    place_m = frame.readings[0].world_from_ego.translation
    by_rule = rule.takes(frame.stamp_ns, place_m, whole=True, enough=True)
    is_key = by_rule if frame.is_key is None else frame.is_key
    sweeps = [*frame.sweeps, *([] if is_key else frame.readings)]
    for reading in sweeps:
        if not options.sweeps:
            report.skip(reading.channel, "between key frames")
        elif not scene.key_frames:
            report.skip(reading.channel, "before the first key frame")
        else:
            scene.add_sweep(reading)
    if is_key:
        scene.add_key_frame(frame.stamp_ns, frame.readings, frame.boxes)

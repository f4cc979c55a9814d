"""nuScenes itself, so that it can be put beside one's own recordings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from renderocc_training.sequences import nuscenes_source
from renderocc_training.sequences.extraction.readings import Reading
from renderocc_training.sequences.layouts.drive import LayoutDrive, LayoutFrame
from renderocc_training.sequences.nuscenes_source import NuscenesScene, NuscenesSource, tables_of


def nuscenes_drives(root: Path) -> list[LayoutDrive]:
    """The scenes of a data set.

    Args:
        root: its folder if it has one folder of tables, else that folder of tables.

    Raises:
        ValueError: no tables, several, or one is missing.
    """
    return [_drive(scene) for scene in NuscenesSource(*tables_of(root)).scenes()]


def _drive(scene: NuscenesScene) -> LayoutDrive:
    readings = scene.readings(key_frames_only=False)
    nuscenes_source.check_files(readings)
    skipped = scene.skipped_channels()
    return LayoutDrive(
        name=scene.name,
        description=scene.description,
        vehicle=scene.log["vehicle"],
        date=scene.log["date_captured"],
        location=scene.log["location"],
        start_ns=readings[0].stamp_ns,
        count=sum(1 for _ in scene.boxes()),
        frames=lambda: _frames(scene, readings),
        problems=(f"not extracted: {', '.join(skipped)}",) if skipped else (),
    )


def _frames(scene: NuscenesScene, readings: list[nuscenes_source.Reading]) -> Iterator[LayoutFrame]:
    """Every sample, with the sweeps before it; sweeps after the last sample are left out."""
    by_sample = {
        sample: list(group)
        for sample, group in groupby(
            sorted(readings, key=lambda r: (r.sample_stamp_ns, r.stamp_ns)),
            key=lambda r: r.sample_stamp_ns,
        )
    }
    for stamp_ns, boxes in scene.boxes():
        own = by_sample[stamp_ns]
        yield LayoutFrame(
            stamp_ns,
            [_reading(each) for each in own if each.is_key_frame],
            boxes,
            sweeps=tuple(_reading(each) for each in own if not each.is_key_frame),
            is_key=True,
        )


def _reading(reading: nuscenes_source.Reading) -> Reading:
    return Reading(
        reading.channel,
        reading.stamp_ns,
        reading.file.read_bytes(),
        reading.file.name.partition(".")[2],
        reading.ego_from_sensor,
        reading.map_from_ego,
        reading.camera,
    )

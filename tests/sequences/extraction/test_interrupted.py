"""Extraction as a process that is killed, and recordings that are split over files."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from renderocc_ros.config import RigConfig
from renderocc_training.sequences.extraction.job import Job, run_job
from renderocc_training.sequences.extraction.options import ExtractOptions
from tests.sequences.extraction.extracting import tree

PATIENCE_S = 60.0


def command(bag: Path, rig: Path, out: Path) -> list[str]:
    module = "renderocc_ros.cli"
    options = ["--rig", str(rig), "--out", str(out), "--processes", "1"]
    return [sys.executable, "-m", module, "extract", str(bag), *options]


def test_a_killed_process_is_taken_up_again(drive: Any, rig_file: Path, tmp_path: Path) -> None:
    bag = drive(seconds=40.0).write(tmp_path / "bag")
    process = subprocess.Popen(
        command(bag, rig_file, tmp_path / "out"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE_S
    while not list((tmp_path / "out").glob("samples/*/*.jpg")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    assert not list((tmp_path / "out").glob("v1.0-trainval/*")), "it was killed too late"
    for out in ("out", "whole"):
        subprocess.run(command(bag, rig_file, tmp_path / out), check=True, capture_output=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("damaged", [False, True])
def test_a_split_recording_is_one_drive(
    drive: Any, rig: RigConfig, tmp_path: Path, damaged: bool
) -> None:
    """Two files as ros2 bag record --max-bag-duration leaves them; or the second one cut off."""
    whole = drive(seconds=40.0)
    half_ns = whole.start_ns + 20 * 10**9

    def part(first: bool) -> Any:
        class Part(drive):  # type: ignore[misc,valid-type]
            def events(self) -> Any:
                return (event for event in super().events() if (event[0] < half_ns) == first)

        return Part(seconds=40.0).write(tmp_path / ("first" if first else "second"))

    parts = [part(True), part(False)]
    split = tmp_path / "bag"
    split.mkdir()
    metadata = [yaml.safe_load((each / "metadata.yaml").read_text()) for each in parts]
    for each in parts:
        (each / f"{each.name}.mcap").rename(split / f"{each.name}.mcap")
    information = [each["rosbag2_bagfile_information"] for each in metadata]
    merged = information[0] | {
        "relative_file_paths": ["first.mcap", "second.mcap"],
        "duration": {"nanoseconds": 40 * 10**9},
        "message_count": sum(each["message_count"] for each in information),
        "files": [each["files"][0] for each in information],
    }
    (split / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": merged}))
    if damaged:
        second = split / "second.mcap"
        second.write_bytes(second.read_bytes()[:-200])
    report = run_job(Job(split, tmp_path / "out", rig, ExtractOptions()))
    assert bool(report.problems) == damaged
    assert 40 <= report.key_frames <= 80
    if not damaged:
        assert (report.key_frames, report.sweeps) == (80, 320 * 3)
        assert report.skipped == {}

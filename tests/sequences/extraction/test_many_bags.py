"""The command on many recordings: side by side, on a Ray cluster, twice, interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from renderocc_ros.cli import app
from renderocc_ros.config import RigConfig
from tests.sequences.extraction.extracting import VERSION, extract, tree


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["extract", *map(str, arguments)])


def test_the_command_extracts_many_bags_and_adds_more(
    drive: Any, tables: Any, rig_file: Path, tmp_path: Path
) -> None:
    bags = [
        drive(start_ns=drive.start_ns + i * 10**12).write(tmp_path / f"bag{i}") for i in range(3)
    ]
    parallel, serial = tmp_path / "parallel", tmp_path / "serial"
    common = ("--rig", rig_file, "--json")
    result = run(*bags[:2], *common, "--out", parallel, "--processes", 2)
    assert result.exit_code == 0, result.output
    reports = json.loads(result.stdout.strip().splitlines()[-1])["recordings"]
    assert [report["key_frames"] for report in reports] == [6, 6]
    assert run(bags[2], *common, "--out", parallel, "--processes", 2).exit_code == 0
    assert [scene["name"] for scene in tables(parallel)["scene"]] == ["bag0", "bag1", "bag2"]
    for bag in reversed(bags):
        assert run(bag, *common, "--out", serial, "--processes", 1).exit_code == 0
    assert tree(parallel) == tree(serial)


def test_a_ray_cluster_that_is_not_there_is_named(
    drive: Any, rig_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="extra 'ray' is not installed")
    bag = drive().write(tmp_path / "bag")
    result = run(bag, "--rig", rig_file, "--out", tmp_path / "out", "--ray", "auto")
    assert result.exit_code != 0
    assert "--ray auto: " in " ".join(result.output.split()), result.output


def test_what_is_done_is_not_done_again_and_what_was_interrupted_is(
    drive: Any, rig: RigConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from renderocc_training.sequences.extraction import scene_writer

    bag, out = drive().write(tmp_path / "bag"), tmp_path / "out"
    extract(bag, tmp_path / "whole", rig)
    written = 0
    write = scene_writer.SceneWriter.add_key_frame

    def stop_in_the_middle(self: Any, *arguments: Any) -> None:
        nonlocal written
        written += 1
        if written == 4:
            raise KeyboardInterrupt
        write(self, *arguments)

    monkeypatch.setattr(scene_writer.SceneWriter, "add_key_frame", stop_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        extract(bag, out, rig)
    assert not (out / VERSION).exists()
    monkeypatch.setattr(scene_writer.SceneWriter, "add_key_frame", write)
    extract(bag, out, rig)
    assert tree(out) == tree(tmp_path / "whole")
    stamps = {file: file.stat().st_mtime_ns for file in (out / "samples").rglob("*.jpg")}
    again = extract(bag, out, rig)
    assert again.key_frames == 6
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    assert extract(bag, out, rig, key_frame_s=1.0).key_frames == 3  # other options: anew


def test_mistakes_are_named(drive: Any, rig_file: Path, tmp_path: Path) -> None:
    bag = drive(without=("/front/camera_info", "/rear/camera_info")).write(tmp_path / "bag")
    out = ("--out", tmp_path / "out")
    assert "no rigs file 'rabbit'" in run(bag, "--rig", "rabbit", *out).output
    for version in ("", ".", "..", "../v1.0", str(tmp_path)):
        assert "name of a folder in --out" in run(
            bag, "--rig", rig_file, *out, "--version", version
        ).output.replace("\n", " ")
    assert "given more than once" in run(bag, bag, "--rig", rig_file, *out).output
    result = run(bag, tmp_path / "absent", "--rig", rig_file, *out, "--processes", 1)
    output = " ".join(result.output.split())
    assert result.exit_code == 1
    assert "0 of 2 cameras, 1 needed" in output
    assert "there is no bag at" in output
    assert "no recording gave a key frame" in output
    for entry, mistake in {
        "classes": "'classes' is not KIND=/topic",
        "dept=/front/depth": "one of the kinds depth, classes",
        "depth=/{cam}/depth": "nothing but {camera} stands for a name",
    }.items():
        labels = run(bag, "--rig", rig_file, *out, "--labels", entry)
        assert mistake in " ".join(labels.output.split())

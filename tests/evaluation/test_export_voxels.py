"""`renderocc export-voxels` writes the frames of a bag and of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_ros.occupancy.occ3d_files import read_occupancy
from renderocc_training.evaluation.recorded_voxels import recorded_voxels
from renderocc_training.evaluation.results import read_results
from tests.evaluation.conftest import SETS


def export(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["export-voxels", *map(str, arguments)])
    return done.exit_code, done.stdout + done.stderr


def test_a_bags_truth_of_a_chosen_time(drive: Path, tmp_path: Path, occ3d: ClassSet) -> None:
    code, output = export(drive, "--at", "0.9", "--out", tmp_path / "new" / "a.npz")
    assert code == 0, output
    frames = list(recorded_voxels(drive))
    assert len(frames) == SETS
    first_ns = frames[0].stamp_ns
    wanted = next(frame for frame in frames if frame.stamp_ns - first_ns >= 0.9e9)
    read = read_occupancy(tmp_path / "new" / "a.npz", wanted.grid, occ3d)
    assert read.stamp_ns == wanted.stamp_ns
    assert np.array_equal(read.labels, wanted.labels)


def test_all_frames_of_results_and_of_their_bag(
    evaluated: tuple[Path, Any], tmp_path: Path, occ3d: ClassSet
) -> None:
    folder = evaluated[0]
    results = read_results(folder / "results")
    for source in ("results", "bag"):
        out = tmp_path / source
        code, output = export(folder / source, "--format", "npz", "--out", out)
        assert code == 0, output
        assert len(list(out.glob("*.npz"))) == SETS
        for frame in results.frames:
            kept = results.prediction(frame.token)
            assert kept is not None
            read = read_occupancy(out / f"{frame.stamp_ns}.npz", results.grid, occ3d)
            assert np.array_equal(read.labels, kept.labels)


def test_chosen_classes_alone(drive: Path, tmp_path: Path, occ3d: ClassSet) -> None:
    ground = sorted(occ3d.ground_ids)
    names = [word for number in ground for word in ("--class", occ3d.names[number])]
    code, output = export(drive, *names, "--out", tmp_path / "a.npz")
    assert code == 0, output
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(np.unique(arrays["semantics"])) <= {*ground, occ3d.free_id, 255}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--out", "a.las"), "written as .ply, .pcd, .npz, .bt"),
        (("--out", "a.ply", "--at", "99"), "end before that"),
        (("--out", "a.ply", "--class", "cars"), "has no 'cars'"),
        (("--out", "a.ply", "--topic", "/none"), "no '/none'; there is /ground_truth/occupancy"),
        (("--out", "a", "--format", "ply", "--at", "1"), "leave --at away"),
    ],
)
def test_mistakes_are_told(
    drive: Path, tmp_path: Path, arguments: tuple[str, ...], reason: str, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = export(drive, *arguments)
    assert code == 1 and reason in " ".join(output.split())

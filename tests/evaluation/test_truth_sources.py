"""Truth beside a recording: taken where it is of the model's grid and classes, else refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import describe_grid
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth, write_truth
from renderocc_training.evaluation.truth_sources import FileTruth

GRID = VoxelGrid((-40.0, -40.0, -1.2), 0.8, (100, 100, 8))
LOWER = VoxelGrid((-40.0, -40.0, -1.0), 0.8, (100, 100, 8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The truth of one set, in a drive's folder."""
    labels, seen = np.full(GRID.size, 17, np.uint8), np.ones(GRID.size, bool)
    labels[3, 4, 5] = 4
    write_truth(tmp_path / "drive" / "token" / "labels.npz", Occ3dTruth(labels, seen, seen))
    return tmp_path


@pytest.mark.parametrize("described", [False, True])
def test_truth_of_the_models_grid_is_taken(folder: Path, occ3d: ClassSet, described: bool) -> None:
    if described:
        describe_grid(folder / "drive", GRID, "occ3d")
    for root in (folder, folder / "drive"):
        truth = FileTruth(root, GRID, occ3d).truth("token", 0)
        assert truth is not None and np.argwhere(truth.labels == 4).tolist() == [[3, 4, 5]]
        assert FileTruth(root, GRID, occ3d).truth("other", 0) is None


@pytest.mark.parametrize(
    ("grid", "class_table", "message"),
    [
        (LOWER, "occ3d", r"token.* grid VoxelGrid.*-1\.0\), .* the model VoxelGrid.*-1\.2\), "),
        (GRID, "waymo", "token.* the classes 'waymo', the model 'occ3d'"),
    ],
)
def test_truth_of_another_grid_or_other_classes_is_refused_naming_both(
    folder: Path, occ3d: ClassSet, grid: VoxelGrid, class_table: str, message: str
) -> None:
    describe_grid(folder / "drive", grid, class_table)
    with pytest.raises(ValueError, match=message):
        FileTruth(folder, GRID, occ3d).truth("token", 0)


def test_truth_that_no_set_asks_for_is_told(folder: Path, occ3d: ClassSet) -> None:
    files = FileTruth(folder, GRID, occ3d)
    assert files.truth("monday_1700050001600000000", 1_700_050_001_600_000_000) is None
    (output,) = files.problems("monday")
    assert "monday: none of the 1 files" in output
    assert files.truth("token", 0) is not None and not files.problems("monday")


def test_a_broken_description_is_named(folder: Path, occ3d: ClassSet) -> None:
    (folder / "drive" / "grid.json").write_text('{"origin_m": [0, 0, 0]}')
    with pytest.raises(ValueError, match="grid.json is broken .*make the truth again"):
        FileTruth(folder, GRID, occ3d).truth("token", 0)

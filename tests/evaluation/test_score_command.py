"""`renderocc score` on folders of files, as a user runs it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import describe_grid
from renderocc_training.commands.demo import _beside_constant
from renderocc_training.evaluation.ray_scores import count_rays, ray_scores
from renderocc_training.evaluation.voxel_scores import confusion_matrix, no_counts, voxel_scores

LOWER = VoxelGrid((-40.0, -40.0, -1.2), 0.8, (100, 100, 8))
SIZE = (200, 200, 16)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three samples in Occ3D's own layout, and predictions that are wrong here and there."""
    random = np.random.default_rng(0)
    for number in range(3):
        truth = np.full(SIZE, 17, dtype=np.uint8)
        truth[:, :, 2] = 11
        truth[50:60, 80:120, 3:8] = 4 + number
        camera = random.random(SIZE) < 0.5
        folder = tmp_path / "gts" / "scene-0001" / f"token{number}"
        folder.mkdir(parents=True)
        np.savez_compressed(
            folder / "labels.npz", semantics=truth, mask_camera=camera, mask_lidar=camera | True
        )
        guess = np.where(random.random(SIZE) < 0.1, 16, truth).astype(np.uint8)
        (tmp_path / "mine").mkdir(exist_ok=True)
        np.savez_compressed(tmp_path / "mine" / f"token{number}.npz", guess)
    np.savez(
        tmp_path / "origins.npz", **{f"token{n}": np.array([[0.0, 0.0, 1.8]]) for n in range(3)}
    )
    return tmp_path / "mine", tmp_path / "gts"


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments), "--processes", "1"])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("mask", ["camera", "none"])
def test_scores_are_those_of_one_matrix_over_all_samples(
    folders: tuple[Path, Path], occ3d: ClassSet, mask: str
) -> None:
    predictions, truth = folders
    code, out, _ = run(predictions, truth, "--json", "--mask", mask)
    assert code == 0
    result = json.loads(out)
    matrix = no_counts(17)
    for number in range(3):
        true = np.load(truth / "scene-0001" / f"token{number}" / "labels.npz")
        guess = np.load(predictions / f"token{number}.npz")["arr_0"]
        counted = true["mask_camera"].astype(bool) if mask == "camera" else None
        matrix += confusion_matrix(true["semantics"], guess, occ3d, counted)
    expected = voxel_scores(matrix)
    assert result["samples"] == 3
    assert result["miou"] == pytest.approx(expected.miou)
    assert result["class_iou"]["driveable_surface"] == pytest.approx(expected.class_iou[11])
    assert result["class_iou"]["bicycle"] is None


def test_rays_and_worker_processes(folders: tuple[Path, Path]) -> None:
    predictions, truth = folders
    origins = predictions.parent / "origins.npz"
    alone = CliRunner().invoke(
        app, ["score", str(truth), str(truth), "--json", "--rays", str(origins), "--processes", "2"]
    )
    assert alone.exit_code == 0, alone.stderr
    assert json.loads(alone.stdout)["ray_iou"] == 1.0
    assert json.loads(alone.stdout)["miou"] == 1.0


@pytest.fixture
def lower(folders: tuple[Path, Path]) -> tuple[Path, Path]:
    """The same in cells of 0.8 m from z = -1.2 m, which the predictions say."""
    predictions, truth = folders
    for number in range(3):
        file, guess = truth / "scene-0001" / f"token{number}" / "labels.npz", f"token{number}.npz"
        with np.load(file) as arrays:
            np.savez(file, **{name: arrays[name][::2, ::2, ::2] for name in arrays})
        labels = np.load(predictions / guess)["arr_0"][::2, ::2, ::2]
        predicted = {"origin_m": np.array(LOWER.origin_m), "resolution_m": np.array(0.8)}
        np.savez(predictions / guess, semantics=labels, **predicted)
    return folders


@pytest.mark.parametrize("options", [(), ("--voxel-m", "0.8")])
def test_rays_are_cast_in_the_grid_that_the_predictions_say(
    lower: tuple[Path, Path], occ3d: ClassSet, options: tuple[str, ...]
) -> None:
    predictions, truth = lower
    origins = predictions.parent / "origins.npz"
    code, out, err = run(predictions, truth, "--json", "--rays", origins, *options)
    assert code == 0, err

    def expected(grid: VoxelGrid) -> float:
        counts = None
        for number in range(3):
            true = np.load(truth / "scene-0001" / f"token{number}" / "labels.npz")["semantics"]
            guess = np.load(predictions / f"token{number}.npz")["semantics"]
            one = count_rays(true, guess, grid, occ3d, np.array([[0.0, 0.0, 1.8]]))
            counts = one if counts is None else counts + one
        return ray_scores(counts).ray_iou

    got = json.loads(out)["ray_iou"]
    assert got == pytest.approx(expected(LOWER), abs=1e-12)
    assert abs(got - expected(replace(LOWER, origin_m=(-40.0, -40.0, -1.0)))) > 1e-4


def test_grids_that_contradict_each_other_are_named(lower: tuple[Path, Path]) -> None:
    code, _, err = run(*lower, "--voxel-m", "0.4")
    assert code == 1 and "--voxel-m 0.4 contradicts the prediction of token0" in err
    assert "resolution_m=0.8" in err
    describe_grid(lower[1] / "scene-0001", replace(LOWER, origin_m=(-40.0, -40.0, -1.0)), "occ3d")
    code, _, err = run(*lower)
    assert code == 1 and "sample token0: truth says VoxelGrid(origin_m=(-40.0, -40.0, -1.0)" in err
    assert "scored is VoxelGrid(origin_m=(-40.0, -40.0, -1.2)" in err


def test_the_truth_may_say_the_grid(lower: tuple[Path, Path]) -> None:
    _, truth = lower
    describe_grid(truth / "scene-0001", LOWER, "occ3d")
    code, out, err = run(truth, truth, "--json")
    assert code == 0, err
    assert json.loads(out)["miou"] == 1.0


def test_the_table_names_every_class(folders: tuple[Path, Path], occ3d: ClassSet) -> None:
    code, out, _ = run(*folders)
    assert code == 0
    assert all(name in out for name in occ3d.names) and "3 samples" in out
    lines = [re.findall(r"[\w. ()]*\w", line) for line in out.splitlines()]
    rows = {cells[0].strip(): cells[1:] for cells in lines if len(cells) == 3}
    # The road, a layer of its own, is all that a constant of the road has; the box is above it.
    assert float(rows["driveable_surface"][1]) == 100
    assert float(rows["IoU with ground"][1]) > 90 > float(rows["IoU above ground"][1]) > 1
    assert list(rows)[:4] == ["mIoU", "of what moves", "of what stands", "IoU above ground"]


def test_a_slab_has_no_score_above_the_ground(folders: tuple[Path, Path]) -> None:
    """Predictions of a constant have what the best constant has, and nothing above the ground."""
    predictions, truth = folders
    slab = np.full(SIZE, 17, np.uint8)
    slab[:, :, 2] = 11
    for number in range(3):
        np.savez(predictions / f"token{number}.npz", slab)
    code, out, err = run(predictions, truth, "--json")
    assert code == 0, err
    scores = json.loads(out)
    constant = scores["best_constant"]
    assert scores["iou_above_ground"] == scores["recall_above_ground"] == 0
    assert scores["precision_above_ground"] is None
    assert scores["iou"] == constant["iou"] > 0.9
    assert scores["miou"] <= constant["miou"] < 0.3
    assert constant["class_iou"]["driveable_surface"] == 1


def test_missing_predictions_are_named_and_not_skipped(folders: tuple[Path, Path]) -> None:
    predictions, _ = folders
    (predictions / "token1.npz").rename(predictions / "token9.npz")
    code, _, err = run(*folders)
    assert code == 1
    assert "1 predictions without truth: token9" in err
    assert "1 truths without prediction: token1" in err and "--partial" in err
    code, out, _ = run(*folders, "--partial", "--json")
    assert code == 0 and json.loads(out)["samples"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            np.zeros((100, 100, 8), np.uint8),
            "prediction is (100, 100, 8), the grid (200, 200, 16): score files of one grid",
        ),
        (np.full(SIZE, 18, np.uint8), "sample token1: prediction holds label 18"),
        (np.full(SIZE, np.nan), "labels are float64"),
    ],
)
def test_bad_files_are_named(folders: tuple[Path, Path], content: np.ndarray, message: str) -> None:
    np.savez(folders[0] / "token1.npz", content)
    code, _, err = run(*folders)
    assert code == 1 and message in err


def test_a_truncated_file_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "token1.npz"
    path.write_bytes(path.read_bytes()[:500])
    code, _, err = run(*folders)
    assert code == 1 and "token1.npz is broken" in err


@pytest.mark.parametrize("edge", ["0", "-0.4", "nan", "inf"])
def test_a_voxel_without_size_is_refused(folders: tuple[Path, Path], edge: str) -> None:
    code, _, err = run(*folders, "--voxel-m", edge)
    assert code == 2 and "--voxel-m" in err


@pytest.mark.parametrize("content", [b"no arrays", b"PK\x03\x04 cut off"])
def test_ray_origins_that_cannot_be_read_are_named(
    folders: tuple[Path, Path], content: bytes
) -> None:
    path = folders[0].parent / "broken.npz"
    path.write_bytes(content)
    code, _, err = run(*folders, "--rays", str(path))
    assert code == 1 and "broken.npz is broken" in err


def test_the_demo_gives_the_constant_in_brackets(folders: tuple[Path, Path]) -> None:
    scores = json.loads(run(*folders, "--json")[1])
    lines = _beside_constant(scores)
    names = ("mIoU", "IoU above ground", "IoU with ground")
    for name, key, line in zip(names, ("miou", "iou_above_ground", "iou"), lines, strict=True):
        value, constant = scores[key], scores["best_constant"][key]
        assert line == f"{name} {100 * value:.1f} % ({100 * constant:.1f} %)"

"""`renderocc-train score` on folders of files, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_training.cli import app
from renderocc_training.evaluation.voxel_scores import confusion_matrix, voxel_scores

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


def run(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["score", *map(str, words), "--processes", "1"])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("mask", ["camera", "none"])
def test_scores_are_those_of_one_matrix_over_all_samples(
    folders: tuple[Path, Path], occ3d: ClassSet, mask: str
) -> None:
    predictions, truth = folders
    code, out, _ = run(predictions, truth, "--json", "--mask", mask)
    assert code == 0
    result = json.loads(out)
    matrix = np.zeros((18, 18), dtype=np.int64)
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


def test_the_table_names_every_class(folders: tuple[Path, Path], occ3d: ClassSet) -> None:
    code, out, _ = run(*folders)
    assert code == 0
    assert all(name in out for name in occ3d.names) and "3 samples" in out


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
    ("content", "words"),
    [
        (
            np.zeros((100, 100, 8), np.uint8),
            "prediction is (100, 100, 8), the grid (200, 200, 16): choose by --voxel-m",
        ),
        (np.full(SIZE, 18, np.uint8), "sample token1: prediction holds label 18"),
        (np.full(SIZE, np.nan), "labels are float64"),
    ],
)
def test_bad_files_are_named(folders: tuple[Path, Path], content: np.ndarray, words: str) -> None:
    np.savez(folders[0] / "token1.npz", content)
    code, _, err = run(*folders)
    assert code == 1 and words in err


def test_a_truncated_file_is_named(folders: tuple[Path, Path]) -> None:
    path = folders[0] / "token1.npz"
    path.write_bytes(path.read_bytes()[:500])
    code, _, err = run(*folders)
    assert code == 1 and "token1.npz is no readable .npz file" in err


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
    assert code == 1 and "broken.npz is no readable .npz file" in err

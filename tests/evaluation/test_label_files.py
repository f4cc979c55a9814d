"""Predictions and truth in the layouts of other methods and benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.cli import app

SIZE = (200, 200, 16)
TRUTH = np.full(SIZE, 17, np.uint8)
TRUTH[50:150, 50:150, 2] = 11
TRUTH[100:110, 100:105, 3:6] = 4
PREDICTION = TRUTH.copy()
PREDICTION[50:60, 50:60, 2] = 17
Change = Callable[[np.ndarray], np.ndarray]


def sparse(labels: np.ndarray) -> np.ndarray:
    cells = np.argwhere(labels != 17)
    return np.concatenate([cells, labels[tuple(cells.T)][:, None].astype(np.int64)], axis=1)


def from_one(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 17, 0, labels + 1).astype(np.uint8)


def score(folder: Path, *options: str) -> tuple[int, dict[str, float], str]:
    arguments = ["score", str(folder / "pred"), str(folder / "gts"), "--json", "--processes", "1"]
    result = CliRunner().invoke(app, [*arguments, *options])
    return result.exit_code, json.loads(result.stdout or "{}"), result.stderr


def write(file: Path, content: np.ndarray, **more: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, content)
    else:
        np.savez_compressed(file, semantics=content, **more)


def truth(folder: Path, *masks: str) -> None:
    seen = {mask: np.ones(SIZE, np.uint8) for mask in masks}
    write(folder / "gts" / "scene" / "token" / "labels.npz", TRUTH, **seen)


@pytest.mark.parametrize(
    ("file", "key", "change", "options"),
    [
        ("token.npz", "semantics", lambda a: a, ()),
        ("token.npz", "arr_0", lambda a: a.astype(np.float32), ()),
        ("scene/token/pred.npz", "pred", lambda a: a[None], ()),
        ("token/occ.npz", "occ_pred", lambda a: a.astype(np.int64), ()),
        ("token.npy", "", lambda a: a, ()),
        ("token.npy", "", sparse, ()),
        ("token.npz", "sem_pred", from_one, ("--free-id", "0", "--first-id", "1")),
        ("token.npz", "pred", lambda a: np.where(a == 17, 0, a), ("--free-id", "0")),
        ("token.npz", "pred", lambda a: a.transpose(2, 1, 0), ("--order", "zyx")),
        ("token.npz", "pred", lambda a: a.transpose(1, 0, 2), ("--order", "yxz")),
    ],
)
def test_predictions(
    tmp_path: Path, file: str, key: str, change: Change, options: tuple[str, ...]
) -> None:
    truth(tmp_path, "mask_camera")
    path = tmp_path / "pred" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    content = change(PREDICTION)
    if path.suffix == ".npy":
        np.save(path, content)
    else:
        np.savez(path, **{key: content})
    code, scores, err = score(tmp_path, *options)
    assert code == 0, err
    assert scores["class_iou"]["driveable_surface"] == pytest.approx(0.99)
    assert scores["class_iou"]["car"] == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (from_one, "say which label is free by --free-id"),
        (lambda a: np.where(a == 17, 255, a), "most often 255, but free is 17"),
        (lambda a: a.transpose(1, 0, 2), "give --order yxz"),
        (lambda a: a + 0.5, "labels are float64"),
    ],
)
def test_what_would_be_scored_wrongly_is_refused(
    tmp_path: Path, change: Change, message: str
) -> None:
    truth(tmp_path, "mask_camera")
    write(tmp_path / "pred" / "token.npz", change(PREDICTION))
    code, _, err = score(tmp_path)
    assert code == 1 and message in err


@pytest.mark.parametrize(
    ("masks", "mask", "message"),
    [
        ((), "none", ""),
        (("mask_lidar",), "lidar", ""),
        (("mask_lidar",), "camera", "wanted semantics, mask_camera; where there is no mask"),
    ],
)
def test_only_the_mask_that_counts_is_needed(
    tmp_path: Path, masks: tuple[str, ...], mask: str, message: str
) -> None:
    truth(tmp_path, *masks)
    write(tmp_path / "pred" / "token.npz", PREDICTION)
    code, scores, err = score(tmp_path, "--mask", mask)
    assert (code, message in err) == (1 if message else 0, True)
    assert message or scores["class_iou"]["car"] == 1.0


def test_truth_of_surroundocc_lists_what_is_occupied(tmp_path: Path) -> None:
    write(tmp_path / "gts" / "token.npy", sparse(TRUTH))
    write(tmp_path / "pred" / "token.npz", PREDICTION)
    assert "score with --mask none" in score(tmp_path)[2]
    code, scores, err = score(tmp_path, "--mask", "none")
    assert code == 0 and scores["iou"] == pytest.approx(10050 / 10150), err


def test_voxels_of_semantickitti(tmp_path: Path) -> None:
    """Raw labels of 16 bits, the first axis ahead, and bits where nothing is known."""
    raw = np.zeros((256, 256, 32), "<u2")
    raw[10:20, 5, 3], raw[40, 40, 0], raw[60, 60, 0] = 40, 252, 1  # road, moving car, outlier
    invalid = np.zeros(raw.shape, bool)
    invalid[10:12] = True
    for part, drop in (("voxels", 0), ("predictions", 1)):
        top = "gts" if part == "voxels" else "pred"
        folder = tmp_path / top / "sequences" / "08" / part
        folder.mkdir(parents=True)
        predicted = raw.copy()
        predicted[19, 5, 3] *= 1 - drop
        predicted.tofile(folder / "000010.label")
        np.packbits(invalid).tofile(folder / "000010.invalid")
    code, scores, err = score(tmp_path)
    assert code == 0, err
    assert scores["class_iou"]["driveable_surface"] == pytest.approx(7 / 8)
    assert scores["class_iou"]["car"] == 1.0 and scores["samples"] == 1
    assert scores["mask"] == "invalid"  # not that of the cameras, which there is none of

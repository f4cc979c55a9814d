"""`renderocc compare`: a difference is claimed only where there is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_ros.geometry import VoxelGrid
from renderocc_training.evaluation.comparison import block_draws, compare_results
from renderocc_training.evaluation.results import FrameResult, ResultsWriter, read_results
from renderocc_training.evaluation.voxel_scores import voxel_scores

GRID = VoxelGrid((0.0, 0.0, 0.0), 1.0, (4, 4, 2))
FRAMES = 40
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, occ3d: ClassSet) -> Make:
    """Writes results of 40 frames, of which a share of all road voxels is right."""

    def write(
        name: str, share: float, noise: float, seed: int, frames: range | None = None
    ) -> Path:
        random = np.random.default_rng(seed)
        confusions = {}
        for number in frames or range(FRAMES):
            confusion = np.zeros((18, 18), np.int64)
            right = int(1000 * np.clip(share + noise * random.normal(), 0, 1))
            confusion[11, 11], confusion[11, 17] = right, 1000 - right
            confusion[4, 4], confusion[17, 17] = 50, 5000
            confusions[f"f{number:02}"] = confusion
        folder = tmp_path / name
        scores = {"class_iou": dict.fromkeys(occ3d.names)}
        ResultsWriter(folder, False, False).finish(
            {"name": name, "mask": "camera", "cameras": [], "scores": scores},
            occ3d,
            GRID,
            [FrameResult(token, "drive", i) for i, token in enumerate(confusions)],
            confusions,
        )
        return folder

    return write


def test_a_clear_difference_is_shown_with_an_interval_around_it(make: Make) -> None:
    worse, better = make("worse", 0.60, 0.05, 1), make("better", 0.70, 0.05, 2)
    result = compare_results(read_results(worse), read_results(better), block=1)
    iou = result.scores["iou"]
    total = sum(read_results(better).confusions.values())
    assert iou.second == voxel_scores(np.asarray(total)).iou
    assert iou.low < iou.difference < iou.high
    assert iou.low > 0.05 and iou.high < 0.15 and iou.verdict == "second is better"
    back = compare_results(read_results(better), read_results(worse), block=1).scores["iou"]
    assert back.verdict == "first is better"
    assert (back.low, back.high) == pytest.approx((-iou.high, -iou.low))
    assert result.scores["bus"].verdict == "not comparable"


def test_the_interval_is_that_of_theory_for_a_mean(make: Make) -> None:
    """Recall here is a mean of independent frames, so its interval is ± 1.96 σ/√n."""
    first, second = (read_results(make(n, 0.6, 0.05, s)) for n, s in (("a", 3), ("b", 4)))
    recall = compare_results(first, second, block=1, resamples=4000).scores["recall"]
    result = np.array(
        [[r.confusions[t][11, 11] / 1050 for t in sorted(r.confusions)] for r in (first, second)]
    )
    expected = 2 * 1.96 * np.std(result[1] - result[0]) / np.sqrt(FRAMES)
    assert recall.high - recall.low == pytest.approx(expected, rel=0.1)


def test_equal_results_show_no_difference(make: Make) -> None:
    same = read_results(make("a", 0.6, 0.1, 5))
    iou = compare_results(same, same, block=5).scores["iou"]
    assert (iou.low, iou.high, iou.verdict) == (0, 0, "no difference shown")


def test_draws_are_blocks_of_neighbours_and_each_frame_is_as_likely() -> None:
    draws = block_draws(10, 5, 20_000, np.random.default_rng(0))
    assert (draws.sum(axis=1) == 10).all()
    assert draws.mean(axis=0) == pytest.approx(np.ones(10), abs=0.03)
    single = block_draws(10, 10, 50, np.random.default_rng(0))
    assert (single == 1).all()  # the whole ring
    with pytest.raises(ValueError, match="from 1 to the number of frames, 10"):
        block_draws(10, 11, 5, np.random.default_rng(0))


def test_frames_of_one_result_alone_are_named(make: Make) -> None:
    first, second = make("a", 0.6, 0.05, 6), make("b", 0.6, 0.05, 7, range(2, FRAMES + 1))
    run = CliRunner().invoke(app, ["compare", str(first), str(second), "--json"])
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["frames"] == FRAMES - 2
    assert "2 frames are scored in 'a' alone and left out: f00, f01" in run.stderr
    assert "1 frames are scored in 'b' alone and left out: f40" in run.stderr


def test_results_that_cannot_be_compared_are_refused(make: Make) -> None:
    first, other = make("a", 0.6, 0.05, 8), make("b", 0.6, 0.05, 9, range(100, 110))
    run = CliRunner().invoke(app, ["compare", str(first), str(other)])
    assert run.exit_code == 1 and "0 frames are scored in both" in run.stderr
    path = other / "results.json"
    path.write_text(path.read_text().replace('"camera"', '"lidar"'))
    run = CliRunner().invoke(app, ["compare", str(first), str(other)])
    assert run.exit_code == 1 and "differ in their mask: camera and lidar" in run.stderr
    counts = first / "counts.npz"
    counts.write_bytes(counts.read_bytes()[:100])
    run = CliRunner().invoke(app, ["compare", str(first), str(other)])
    assert run.exit_code == 1 and "counts.npz is broken" in run.stderr.replace("\n", "")
    run = CliRunner().invoke(app, ["compare", str(other), str(other), "--seed", "-1"])
    assert run.exit_code == 2 and "--seed" in run.stderr

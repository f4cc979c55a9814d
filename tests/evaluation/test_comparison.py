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
from renderocc_training.evaluation.voxel_counts import VoxelCounts
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
        counts = {}
        for number in frames or range(FRAMES):
            confusion = np.zeros((19, 18), np.int64)
            right = int(1000 * np.clip(share + noise * random.normal(), 0, 1))
            confusion[11, 11], confusion[11, 17] = right, 1000 - right
            confusion[4, 4], confusion[17, 17] = 50, 5000
            layers, above = np.zeros((2, 19), np.int64), np.zeros((2, 2, 2), np.int64)
            layers[0, [4, 11]], layers[1, 17] = (50, 1000), 5000
            above[1] = (5000 - 50 - right // 10, right // 10), (20, 30)
            counts[f"f{number:02}"] = VoxelCounts(confusion, layers, above)
        folder = tmp_path / name
        classes = {"class_iou": dict.fromkeys(occ3d.names)}
        scores = {**classes, "best_constant": classes}
        ResultsWriter(folder, False, False).finish(
            {"name": name, "mask": "camera", "cameras": [], "scores": scores},
            occ3d,
            GRID,
            [FrameResult(token, "drive", i) for i, token in enumerate(counts)],
            counts,
        )
        return folder

    return write


def test_a_clear_difference_is_shown_with_an_interval_around_it(make: Make) -> None:
    worse, better = make("worse", 0.60, 0.05, 1), make("better", 0.70, 0.05, 2)
    result = compare_results(read_results(worse), read_results(better), block=1)
    iou = result.scores["iou"]
    total = sum(each.confusion for each in read_results(better).counts.values())
    assert iou.second == voxel_scores(np.asarray(total)).iou
    assert iou.constant == 1  # the road lies in one layer, and nothing else is in it
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
        [[r.counts[t].confusion[11, 11] / 1050 for t in sorted(r.counts)] for r in (first, second)]
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


def test_what_stands_above_the_ground_has_an_interval_too(make: Make) -> None:
    """The better the road here, the more is made up above it."""
    first, second = (read_results(make(n, s, 0.02, 9)) for n, s in (("a", 0.5), ("b", 0.8)))
    scores = compare_results(first, second, block=4).scores
    above, miou = scores["iou_above_ground"], scores["miou"]
    assert above.verdict == "first is better" and miou.verdict == "second is better"
    wrong = [sum(each.above[1, 0, 1] for each in r.counts.values()) for r in (first, second)]
    ious = [30 * FRAMES / (50 * FRAMES + each) for each in wrong]
    assert (above.first, above.second) == pytest.approx(tuple(ious))
    assert above.low < ious[1] - ious[0] < above.high < 0
    assert scores["recall_above_ground"].verdict == "no difference shown"
    assert above.constant == pytest.approx(50 / 5000)


def test_the_table_fits_eighty_columns_and_shows_the_constant(make: Make) -> None:
    first, second = make("a", 0.5, 0.02, 9), make("b", 0.8, 0.02, 9)
    words = ["compare", str(first), str(second), "--resamples", "100"]
    run = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    lines = run.stdout.splitlines()
    assert run.exit_code == 0 and max(map(len, lines)) <= 80
    rows = {line[1:24].strip(): line[24:].split() for line in lines}
    assert rows["mIoU"][-1] == "better" and rows["IoU above ground"][-1] == "worse"
    assert rows["IoU above ground"][2] == "1.00" and rows["construction_vehicle"][-1] == "–"


def test_results_scored_with_other_truth_are_refused(make: Make) -> None:
    first, other = make("a", 0.6, 0.05, 8), make("b", 0.6, 0.05, 9)
    path = other / "counts.npz"
    arrays = dict(np.load(path))
    arrays["layers"][3, 0, 11] += 1
    np.savez(path, **arrays)
    run = CliRunner().invoke(app, ["compare", str(first), str(other)])
    assert run.exit_code == 1 and "scored with different truth" in run.stderr


def test_results_of_before_heights_were_counted_are_compared_by_what_they_have(
    make: Make,
) -> None:
    first, second = make("a", 0.6, 0.05, 1), make("b", 0.7, 0.05, 2)
    path = first / "counts.npz"
    arrays = dict(np.load(path))
    np.savez(path, tokens=arrays["tokens"], confusion=arrays["confusion"][:, :-1])
    for one, other in ((first, second), (second, first)):
        scores = compare_results(read_results(one), read_results(other), block=1).scores
        assert scores["iou"].first == pytest.approx(0.6 if one is first else 0.7, abs=0.03)
        assert scores["iou_above_ground"].verdict == "not comparable"


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

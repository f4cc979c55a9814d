"""Scores on frames that were not trained on, of fields that are known."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from street_source import GRID, make_source, network_config, recipe

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.occupancy.grid_file import describe_grid
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.trainer.held_out import _look, held_out_table, score_held_out


class Known(torch.nn.Module):
    """Says the same about the world whatever it sees."""

    def __init__(self, config: NetworkConfig, labels: np.ndarray, classes: int) -> None:
        super().__init__()
        self.config, self.grid = config, config.grid.build()
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        solid = torch.from_numpy((labels < classes) | (labels == OCCUPIED_ID))
        name = torch.from_numpy(np.where(labels < classes, labels, 0).astype(np.int64))
        logits = 20.0 * torch.nn.functional.one_hot(name, classes).movedim(-1, 0)
        self.field = OccupancyField(50.0 * solid[None].float(), logits[None])

    def field_and_depth(self, current: object, past: object) -> tuple[OccupancyField, torch.Tensor]:
        return self.field, torch.empty(0)


def test_a_ray_that_meets_nothing_is_of_no_class(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    source = make_source(sequence, mapping, occ3d)
    free = np.full(GRID.size, occ3d.free_id, np.uint8)
    nothing: Any = Known(network_config(), free, len(occ3d))
    rays = _look(nothing, source, 0, occ3d, recipe(), None).rays
    assert rays[:, occ3d.free_id].sum() == rays.sum() > 1000


def test_held_out_scores_of_what_is_known(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet, tmp_path: Path
) -> None:
    source = make_source(sequence.part(1, 2), mapping, occ3d)
    (place,) = source.places
    votes = source.votes(*place)
    config, free = network_config(), np.full(GRID.size, occ3d.free_id, np.uint8)
    exact = np.where(votes == OCCUPIED_ID, 15, votes)
    (tmp_path / sequence.name).mkdir()
    np.savez(
        tmp_path / sequence.name / "frame1.npz",
        semantics=exact,
        # Ground is what it is whether or not a camera sees it.
        mask_camera=(votes < 255) & ~np.isin(exact, list(occ3d.ground_ids)),
        mask_lidar=votes < 255,
    )
    describe_grid(tmp_path / sequence.name, GRID, "occ3d")
    networks = {
        "all": Known(config, exact, len(occ3d)),
        "nothing": Known(config, free, len(occ3d)),
    }
    scores = score_held_out(
        networks,
        source,
        occ3d,
        recipe(),
        TruthFolder.open(tmp_path, occ3d),  # type: ignore[arg-type]
    )
    exactly = scores["all"].truth
    assert scores["all"].votes["iou"] == exactly["iou"] == exactly["miou"] == 1
    assert exactly["iou_above_ground"] == exactly["recall_above_ground"] == 1
    # Rays that graze the ground meet the tops of its cells of one metre long before it.
    assert scores["all"].depth.abs_rel < 0.4 and scores["all"].ray_miou > 0.5
    assert scores["nothing"].votes["iou"] == 0 and scores["nothing"].depth.abs_rel > 0.5
    constant = scores["best constant"].depth
    by_height = scores["best constant"].truth
    assert 0 < by_height["iou_above_ground"] < by_height["iou"] < 1
    drawn = Console(width=80, record=True, file=io.StringIO())
    drawn.print(held_out_table(scores, "one sample"))
    rows = [re.split(r" *│ *", line.strip("│ ")) for line in drawn.export_text().splitlines()]
    assert rows[4][:3] == ["mIoU, 3D truth, %", "100.0", "0.0"]
    above = next(row for row in rows if row[0] == "IoU above ground, 3D truth, %")
    assert float(above[3]) == pytest.approx(100 * by_height["iou_above_ground"], abs=0.05)
    own = source.own_rays(0)
    assert not own.is_auxiliary.any() and constant.pixels == scores["all"].depth.pixels
    inside = own.range_m[np.isfinite(own.range_m) & (own.range_m < 20)]
    near = np.abs(np.median(inside) / inside - 1).mean()
    assert constant.abs_rel == pytest.approx(near, rel=0.25)
    assert scores["all"].depth.abs_rel < constant.abs_rel


def test_classes_scored_as_one_and_rays_without_a_class(
    sequence: RecordedSequence,
    mapping: Path,
    occ3d: ClassSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = make_source(sequence.part(1, 2), mapping, occ3d)
    votes = source.votes(*source.places[0])
    network: Any = Known(network_config(), np.where(votes == OCCUPIED_ID, 15, votes), len(occ3d))
    rays = _look(network, source, 0, occ3d, recipe(), None).rays
    absent, *_, first, second = np.argsort(rays[: len(occ3d)].sum(axis=1))
    assert not rays[absent].any() and not rays[:, absent].any()
    scores = score_held_out(
        {"known": network},
        source,
        occ3d,
        recipe(),
        as_one={"both": [first, second], "absent": [absent]},
    )
    assert np.isnan(scores["known"].as_one["absent"])
    assert scores["best constant"].as_one["absent"] == 0
    told_apart = rays[first, second] + rays[second, first]
    hits = rays[first, first] + rays[second, second] + told_apart
    either = [
        (row, column) for row, column in np.ndindex(rays.shape) if {row, column} & {first, second}
    ]
    whole = sum(rays[place] for place in either)
    assert scores["known"].as_one["both"] == pytest.approx(hits / whole)
    known = rays[first].sum() + rays[second].sum()
    assert scores["best constant"].as_one["both"] == pytest.approx(known / rays.sum())
    # With a class for the rays that have none, what is seen there by mistake counts.
    own = source.own_rays(0)
    nameless = np.where(own.class_id == first, IGNORE_ID, own.class_id)
    monkeypatch.setattr(source, "own_rays", lambda index: replace(own, class_id=nameless))
    without = _look(network, source, 0, occ3d, recipe(), None).rays
    assert not without[first].any() and without.sum() == rays.sum() - rays[first].sum()
    as_second = _look(network, source, 0, occ3d, recipe(), None, int(second)).rays
    assert np.array_equal(as_second[second], rays[first] + rays[second])
    assert as_second.sum() == rays.sum()
    drawn = Console(width=80, record=True, file=io.StringIO())
    drawn.print(held_out_table(scores, "one sample"))
    assert "both, as one class, IoU %" in drawn.export_text()

"""Shadows of known obstacles, and the exact rays as the judge."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.geometry.line_of_sight import plan_visibility
from renderocc_ros.geometry.voxel_traversal import first_hits

GRID = VoxelGrid((0.0, 0.0, 0.0), 0.5, (40, 30, 6))
EVERYTHING = np.ones((1, *GRID.size), bool)
ORIGIN_M = np.array([2.3, 7.4, 1.2])


def town() -> np.ndarray:
    """Walls and posts about the origin, none within 1.5 m of it."""
    occupied = np.zeros(GRID.size, bool)
    occupied[12, 10:22] = True  # a wall across, from bottom to top
    occupied[20:30, 4, :3] = True  # a low one along
    occupied[6, 24, :] = occupied[3, 4, :] = True  # posts
    return occupied


def test_all_is_seen_where_nothing_stands() -> None:
    assert plan_visibility(GRID, [ORIGIN_M], EVERYTHING).visible(np.zeros(GRID.size, bool)).all()


def test_wall_is_seen_and_hides_what_is_behind_it() -> None:
    seen = plan_visibility(GRID, [ORIGIN_M], EVERYTHING).visible(town())
    assert seen[12, 10:22].all()
    assert not seen[14:, 15].any()
    assert seen[:12, 15].all()


def test_shadows_are_those_of_exact_rays_but_for_their_edges() -> None:
    occupied = town()
    seen = plan_visibility(GRID, [ORIGIN_M], EVERYTHING).visible(occupied)
    cells = np.argwhere(EVERYTHING[0])
    away = GRID.centres(cells) - ORIGIN_M
    distance_m = np.linalg.norm(away, axis=1)
    hits = first_hits(occupied, GRID, ORIGIN_M[None], away / distance_m[:, None])
    exact = (~hits.hit | (hits.enter_m >= distance_m) | (hits.cells == cells).all(1)).reshape(
        GRID.size
    )
    assert 0.2 < exact.mean() < 0.8
    assert (seen == exact).mean() > 0.93
    around = np.stack([np.roll(exact, shift, axis) for axis in range(3) for shift in (-1, 1)])
    inner = (around == exact).all(axis=0)  # whose neighbours are seen, or hidden, as well
    assert inner.mean() > 0.6
    assert (seen == exact)[inner].mean() > 0.99


def test_two_eyes_see_what_either_sees() -> None:
    other_m = np.array([18.0, 7.0, 1.2])
    occupied = town()
    alone = [
        plan_visibility(GRID, [origin], EVERYTHING).visible(occupied)
        for origin in (ORIGIN_M, other_m)
    ]
    both = plan_visibility(GRID, [ORIGIN_M, other_m], np.repeat(EVERYTHING, 2, axis=0)).visible(
        occupied
    )
    assert (both == (alone[0] | alone[1])).all()
    assert both.sum() > max(each.sum() for each in alone)


def test_wanted_cells_alone_get_the_same_answer() -> None:
    wanted = np.zeros_like(EVERYTHING)
    wanted[0, 25:, :, 1] = True
    part = plan_visibility(GRID, [ORIGIN_M], wanted)
    whole = plan_visibility(GRID, [ORIGIN_M], EVERYTHING).visible(town())
    assert (part.visible(town())[wanted[0]] == whole[wanted[0]]).all()
    assert len(part.cells) < 0.5 * GRID.cell_count


def test_eye_outside_of_the_grid_looks_in() -> None:
    seen = plan_visibility(GRID, [[-3.0, 7.4, 1.2]], EVERYTHING).visible(town())
    assert seen[:12, 15].all()
    assert not seen[14:, 15].any()


def test_occupancy_of_another_size_is_refused() -> None:
    plan = plan_visibility(GRID, [ORIGIN_M], EVERYTHING)
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\)"):
        plan.visible(np.zeros((2, 2, 2), bool))

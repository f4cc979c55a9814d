"""The depth head: what a column of an image tells its pixels."""

from __future__ import annotations

import torch

from renderocc_ros.network.depth_head import ColumnContext


def test_the_foot_of_a_column_is_told_to_all_of_it_and_to_no_other() -> None:
    torch.manual_seed(0)
    columns = ColumnContext(8)
    features = torch.randn(2, 8, 6, 5)
    higher = features.clone()
    # Stronger in every direction that the layer looks in: the new strongest of the column.
    higher[0, :, 5, 3] += 100 * torch.linalg.solve(columns.before.weight[..., 0, 0], torch.ones(8))
    moved = (columns(higher) - columns(features)).abs().amax(dim=1)
    assert (moved[0, :, 3] > 1).all()
    moved[0, :, 3] = 0
    assert not moved.any()


def test_a_column_turned_upside_down_tells_the_same() -> None:
    torch.manual_seed(0)
    columns = ColumnContext(8)
    features = torch.randn(1, 8, 6, 5)
    assert torch.equal(columns(features.flip(2)), columns(features).flip(2))

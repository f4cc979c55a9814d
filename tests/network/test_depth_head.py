"""The depth head: what a column of an image tells its pixels."""

from __future__ import annotations

import torch

from renderocc_ros.network.depth_head import ColumnContext, DepthHead
from renderocc_ros.network_config import DepthConfig, FineConfig


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


def _heads() -> tuple[DepthHead, DepthHead]:
    """The same weights without and with a finer map."""
    plain = DepthConfig(to_m=9.0, step_m=1.0, context_channels=4, hidden_channels=8)
    fine = plain.model_copy(update={"fine": FineConfig(feature="stage2", hidden_channels=6)})
    torch.manual_seed(0)
    coarse, finer = DepthHead(5, plain).eval(), DepthHead(5, fine, details=3).eval()
    missing, unexpected = finer.load_state_dict(coarse.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("fine.") for name in missing)
    return coarse, finer


def test_finer_depth_begins_as_the_coarse_one_in_more_pixels() -> None:
    coarse, finer = _heads()
    features, parameters = torch.randn(2, 5, 4, 6), torch.randn(2, 16)
    logits, context = coarse(features, parameters)
    fine_logits, fine_context = finer(features, parameters, details=torch.randn(2, 3, 8, 12))
    assert fine_logits.shape == (2, 8, 8, 12)
    # Between the middles of four coarse pixels lie four fine ones, which mean the same.
    inner = torch.nn.functional.avg_pool2d(fine_logits[..., 1:-1, 1:-1], 2)
    torch.testing.assert_close(inner, torch.nn.functional.avg_pool2d(logits, 2, 1))
    # What a cell gets from all pixels together stays as it was.
    torch.testing.assert_close(fine_context.sum((2, 3)), context.sum((2, 3)))


def test_a_detail_changes_the_pixels_around_it_alone() -> None:
    _, finer = _heads()
    torch.nn.init.normal_(finer.fine.out.weight)  # type: ignore[union-attr, arg-type]
    features, parameters = torch.randn(1, 5, 4, 6), torch.randn(1, 16)
    details = torch.randn(1, 3, 8, 12)
    other = details.clone()
    other[0, :, 5, 7] += 3
    before = finer(features, parameters, details=details)
    after = finer(features, parameters, details=other)
    for one, two in zip(before, after, strict=True):
        moved = (one - two).abs().amax(dim=1)[0]
        assert moved[5, 7] > 0
        moved[4:7, 6:9] = 0
        assert not moved.any()

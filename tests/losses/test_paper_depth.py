"""The official depth loss: which bin a label falls into, and what it costs."""

from __future__ import annotations

import math

import pytest
import torch

from renderocc_training.losses.paper_depth import paper_depth_loss

RANGE_M = (1.0, 45.0, 0.5)


@pytest.mark.parametrize(
    ("label_m", "bin_"), [(1.0, 0), (1.49, 0), (1.5, 1), (44.9, 87), (0.9, None), (45.0, None)]
)
def test_nearest_label_of_a_cell_names_its_bin(label_m: float, bin_: int | None) -> None:
    labels = torch.zeros(1, 1, 32, 32)
    labels[0, 0, 3, 20] = label_m
    labels[0, 0, 4, 25] = label_m + 0.01
    depth = torch.full((1, 1, 88, 2, 2), 0.1 / 87)
    if bin_ is not None:
        depth[0, 0, bin_, 0, 1] = 0.9
    loss = float(paper_depth_loss(depth, labels, RANGE_M))
    wrong = -87 * math.log(1 - 0.1 / 87)
    assert loss == pytest.approx(0.0 if bin_ is None else 0.05 * (wrong - math.log(0.9)), rel=1e-4)


def test_loss_is_the_mean_over_labelled_cells() -> None:
    labels = torch.zeros(1, 2, 32, 32)
    depth = torch.rand(1, 2, 88, 2, 2, generator=torch.Generator().manual_seed(1)).softmax(dim=2)
    assert paper_depth_loss(depth, labels, RANGE_M) == 0
    singles = []
    for camera, row, column in ((0, 1, 1), (1, 20, 2)):
        one = torch.zeros_like(labels)
        one[0, camera, row, column] = labels[0, camera, row, column] = 7.0
        singles.append(paper_depth_loss(depth, one, RANGE_M))
    both = paper_depth_loss(depth, labels, RANGE_M)
    torch.testing.assert_close(both, torch.stack(singles).mean())

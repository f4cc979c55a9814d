"""Encoders must keep every cell in its place."""

from __future__ import annotations

import pytest
import torch

from renderocc_ros.network.voxel_encoder import build_encoder
from renderocc_ros.network_config import EncoderConfig

SIZE = (26, 19, 6)
CENTRE = (17, 8, 2)


@pytest.mark.parametrize("kind", ["3d", "channel_to_height"])
def test_a_cell_is_told_from_around_itself(kind: str) -> None:
    """The input that moves an output cell most lies in its own column; far ones do nothing."""
    torch.manual_seed(0)
    config = EncoderConfig(kind=kind, channels=(16, 16), out_channels=5)  # type: ignore[arg-type]
    encoder = build_encoder(3, SIZE[2], SIZE[2], config).eval()
    volume = torch.randn(1, 3, *SIZE, requires_grad=True)
    output = encoder(volume)
    assert output.shape == (1, *SIZE, 5)
    output[(0, *CENTRE)].square().sum().backward()
    assert volume.grad is not None
    influence = volume.grad[0].abs().sum(0)
    by_column = influence.sum(-1)
    x, y = divmod(int(by_column.argmax()), SIZE[1])
    assert abs(x - CENTRE[0]) <= 1
    assert abs(y - CENTRE[1]) <= 1
    # Two levels of 3x3 convolutions, at strides 1 and 2, reach less than 17 cells.
    assert by_column[0].sum() == 0
    if kind == "3d":
        assert abs(int(influence.sum((0, 1)).argmax()) - CENTRE[2]) <= 1


def test_columns_become_heights() -> None:
    """From above, one flat layer comes in and the grid's layers come out."""
    config = EncoderConfig(channels=(8,), out_channels=5)
    encoder = build_encoder(3, 1, SIZE[2], config).eval()
    assert encoder(torch.randn(2, 3, *SIZE[:2], 1)).shape == (2, *SIZE, 5)

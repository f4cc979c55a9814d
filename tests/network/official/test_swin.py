"""The image backbone against the formulas, written out without the shortcuts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from renderocc_ros.network.official.swin import (
    PatchMerging,
    Swin,
    SwinConfig,
    WindowAttention,
    relative_position_index,
)


def attention_by_hand(layer: WindowAttention, x: Tensor) -> Tensor:
    """Pads with zeros, shifts the map, attends in every window on its own, and shifts back."""
    w, shift = layer.window, layer.shift
    b, h, wide, c = x.shape
    x = F.pad(x, (0, 0, 0, -wide % w, 0, -h % w)).roll((-shift, -shift), (1, 2))
    rows, columns = x.shape[1], x.shape[2]
    region = torch.zeros(rows, columns)
    for axis_value, begin, end in ((1, rows - w, rows - shift), (2, rows - shift, rows)):
        region[begin:end] += 10 * axis_value
    for axis_value, begin, end in (
        (1, columns - w, columns - shift),
        (2, columns - shift, columns),
    ):
        region[:, begin:end] += axis_value
    table = layer.relative_position_bias_table[layer.relative_position_index.view(-1)]
    bias = table.view(w * w, w * w, -1).permute(2, 0, 1)
    out = torch.zeros_like(x)
    for top in range(0, rows, w):
        for left in range(0, columns, w):
            at = (slice(None), slice(top, top + w), slice(left, left + w))
            tokens = x[at].reshape(b, w * w, c)
            q, k, v = layer.qkv(tokens).view(b, w * w, 3, layer.heads, -1).permute(2, 0, 3, 1, 4)
            score = q @ k.mT / (c // layer.heads) ** 0.5 + bias
            part = region[top : top + w, left : left + w].reshape(-1)
            if shift:
                score = score - 100.0 * (part[:, None] != part[None])
            mixed = (score.softmax(-1) @ v).transpose(1, 2).reshape(b, w * w, c)
            out[at] = layer.proj(mixed).view(b, w, w, c)
    return out.roll((shift, shift), (1, 2))[:, :h, :wide]


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (9, 14), (3, 2), (4, 10)])
def test_windows_attend_as_the_definition_says(shift: int, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    layer = WindowAttention(16, heads=2, window=4, shift=shift)
    torch.nn.init.normal_(layer.relative_position_bias_table)
    x = torch.randn(2, *size, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), attention_by_hand(layer, x), rtol=1e-4, atol=1e-5)


def test_patch_merging_orders_channels_like_unfold() -> None:
    torch.manual_seed(2)
    layer = PatchMerging(6)
    x = torch.randn(2, 7, 5, 6)
    padded = F.pad(x.permute(0, 3, 1, 2), (0, 1, 0, 1))
    columns = F.unfold(padded, 2, stride=2).mT
    expected = layer.reduction(layer.norm(columns)).view(2, 4, 3, 12)
    torch.testing.assert_close(layer(x), expected)


def test_relative_position_counts_rows_and_columns_between_tokens() -> None:
    index = relative_position_index(3)
    for first in range(9):
        for second in range(9):
            dy, dx = first // 3 - second // 3, first % 3 - second % 3
            assert index[first, second] == (dy + 2) * 5 + dx + 2


def test_stereo_feature_alone_equals_the_full_pass() -> None:
    torch.manual_seed(3)
    swin = Swin(SwinConfig(channels=16, depths=(2, 1, 1, 1), heads=(1, 2, 2, 2), window=4)).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = swin(images)
        torch.testing.assert_close(swin.stereo_features(images), features.stereo)
    assert features.stereo.shape == (2, 16, 16, 24)
    assert features.stage2.shape == (2, 64, 4, 6)
    assert features.stage3.shape == (2, 128, 2, 3)


def test_plans_made_in_inference_serve_training() -> None:
    layer = WindowAttention(8, heads=1, window=4, shift=2)
    with torch.inference_mode():
        layer(torch.randn(1, 6, 6, 8))
    layer(torch.randn(1, 6, 6, 8)).sum().backward()
    assert layer.qkv.weight.grad is not None and layer.qkv.weight.grad.abs().sum() > 0

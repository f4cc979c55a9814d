"""Swin transformer (Liu et al., ICCV 2021, arXiv 2103.14030) as the official checkpoint has it.

Differences to the original Swin that the checkpoint's weights imply: patch merging orders its
4C inputs channel by channel, maps are padded to whole windows *after* the norm with unmasked zero
tokens, and the features of the first stage, before merging and without norm, serve stereo.

Maps are (B, H, W, C) inside, (B, C, H, W) at the border.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from renderocc_ros.network.official.layers import linear

MASKED = -100.0  # added to the attention between tokens that the cyclic shift brought together


@dataclass(frozen=True)
class SwinConfig:
    """Size of the transformer; the defaults are Swin-B with 12x12 windows."""

    channels: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 12
    mlp_ratio: int = 4
    drop_path: float = 0.1


@dataclass(frozen=True)
class SwinFeatures:
    """Outputs: stereo (B, C, H/4, W/4), without norm, and stages 2 and 3 at strides 16 and 32."""

    stereo: Tensor
    stage2: Tensor
    stage3: Tensor


class Swin(nn.Module):
    """Images (B, 3, H, W) -> SwinFeatures."""

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(config.channels)
        blocks = sum(config.depths)
        rates = [config.drop_path * i / max(1, blocks - 1) for i in range(blocks)]
        channels, last = config.channels, len(config.depths) - 1
        self.stages = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            own, rates = rates[:depth], rates[depth:]
            self.stages.append(SwinStage(channels, heads, config, own, merges=i < last))
            channels *= 2 if i < last else 1
        self.norm2 = nn.LayerNorm(channels // 2)
        self.norm3 = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> SwinFeatures:
        """(B, 3, H, W), H and W multiples of 32 -> features at strides 4, 16 and 32."""
        x: Tensor = self.patch_embed(images)
        outputs: list[Tensor] = []
        for stage in self.stages:
            x, before_merging = stage(x)
            outputs.append(before_merging)
        stage2, stage3 = self.norm2(outputs[-2]), self.norm3(outputs[-1])
        return SwinFeatures(*(_channels_first(y) for y in (outputs[0], stage2, stage3)))

    def stereo_features(self, images: Tensor) -> Tensor:
        """The stereo feature (B, C, H/4, W/4) alone, for a frame that is only matched with."""
        first = self.stages[0]
        assert isinstance(first, SwinStage)
        x: Tensor = self.patch_embed(images)
        for block in first.blocks:
            x = block(x)
        return _channels_first(x)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


class PatchEmbedding(nn.Module):
    """Non-overlapping 4x4 patches to tokens: (B, 3, H, W) -> (B, H/4, W/4, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, channels, kernel_size=4, stride=4)
        self.norm = nn.LayerNorm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        tokens: Tensor = self.projection(images).permute(0, 2, 3, 1)
        normed: Tensor = self.norm(tokens.contiguous())
        return normed


class SwinStage(nn.Module):
    """Blocks with windows in turn straight and shifted by half, then patch merging."""

    def __init__(
        self, channels: int, heads: int, config: SwinConfig, drop_path: list[float], merges: bool
    ) -> None:
        super().__init__()
        shifts = (0, config.window // 2)
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, config, shifts[i % 2], rate)
            for i, rate in enumerate(drop_path)
        )
        self.downsample = PatchMerging(channels) if merges else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) -> the next stage's input, and this stage's output before merging."""
        for block in self.blocks:
            # In training a block is computed again on the way back: its activations would fill
            # tens of gigabytes.
            again = self.training and torch.is_grad_enabled()
            x = checkpoint(block, x, use_reentrant=False) if again else block(x)
        return (x if self.downsample is None else self.downsample(x)), x


class PatchMerging(nn.Module):
    """2x2 tokens to one: (B, H, W, C) -> (B, ⌈H/2⌉, ⌈W/2⌉, 2C).

    The 4C vector is channel-major, index = 4·channel + 2·row + column.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        b, h, w, c = x.shape
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        x = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, c).permute(0, 1, 3, 5, 2, 4)
        return linear(self.norm(x.flatten(3)), self.reduction.weight)


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), on (B, H, W, C)."""

    def __init__(
        self, channels: int, heads: int, config: SwinConfig, shift: int, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn = ShiftedAttention(WindowAttention(channels, heads, config.window, shift))
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = FeedForward(channels, config.mlp_ratio * channels)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x + self._dropped(self.attn(self.norm1(x)))
        return x + self._dropped(self.ffn(self.norm2(x)))

    def _dropped(self, branch: Tensor) -> Tensor:
        """In training, drops a sample's branch at the rate ``drop_path`` (stochastic depth)."""
        if not self.training or self.drop_path == 0.0:
            return branch
        keep = 1.0 - self.drop_path
        return branch * (torch.rand(len(branch), 1, 1, 1, device=branch.device) < keep) / keep


class ShiftedAttention(nn.Module):
    """Holds the attention under its official name."""

    def __init__(self, attention: WindowAttention) -> None:
        super().__init__()
        self.w_msa = attention

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        out: Tensor = self.w_msa(x)
        return out


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between: (B, H, W, C) -> the same shape."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(channels, hidden), nn.GELU()), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        first, second = self.layers.get_submodule("0.0"), self.layers[1]
        assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        return linear(F.gelu(linear(x, first.weight, first.bias)), second.weight, second.bias)


@dataclass(frozen=True)
class WindowPlan:
    """Where each token of every window comes from, for one map size and shift.

    Attributes:
        source: (windows·tokens,) row of the (B·H·W) tokens; rows of ``padding`` are arbitrary.
        padding: positions in ``source`` that lie outside the map.
        target: (B·H·W,) position in ``source`` of every token of the map.
        groups: (number of windows, is in the last row, is in the last column) of each group of
            windows that share an attention mask, in the order of ``source``.
    """

    source: Tensor
    padding: Tensor
    target: Tensor
    groups: tuple[tuple[int, bool, bool], ...]


@lru_cache(maxsize=64)
def window_plan(
    batch: int, height: int, width: int, window: int, shift: int, device: torch.device
) -> WindowPlan:
    """Padding, cyclic shift and window partition of a (B, H, W) map as one gather."""
    with torch.inference_mode(False):  # the plan is kept, and may serve training later
        return _window_plan(batch, height, width, window, shift, device)


def _window_plan(
    batch: int, height: int, width: int, window: int, shift: int, device: torch.device
) -> WindowPlan:
    rows, columns = -(-height // window), -(-width // window)
    y = (torch.arange(rows * window) + shift) % (rows * window)
    x = (torch.arange(columns * window) + shift) % (columns * window)
    y, x = y.view(1, rows, 1, window, 1), x.view(1, 1, columns, 1, window)
    token = torch.arange(batch).view(-1, 1, 1, 1, 1) * (height * width) + y * width + x
    token = torch.where((y < height) & (x < width), token, -1)
    parts, groups = [], []
    for last_row, row_range in ((False, slice(0, rows - 1)), (True, slice(rows - 1, rows))):
        for last_column, range_ in ((False, slice(0, columns - 1)), (True, slice(-1, None))):
            part = token[:, row_range, range_].reshape(-1)
            if len(part):
                parts.append(part)
                groups.append((len(part) // window**2, last_row, last_column))
    source = torch.cat(parts)
    if shift == 0:
        groups = [(sum(count for count, _, _ in groups), False, False)]
    padding = (source < 0).nonzero()[:, 0]
    target = torch.empty(batch * height * width, dtype=torch.long)
    real = (source >= 0).nonzero()[:, 0]
    target[source[real]] = real
    return WindowPlan(
        source.clamp(min=0).to(device), padding.to(device), target.to(device), tuple(groups)
    )


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with relative position bias; (B, H, W, C) -> same.

    Tokens that pad the map to whole windows are zeros behind the norm, so their query, key and
    value are the bias of ``qkv``; they take part as keys. Only real tokens are projected.
    """

    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        index = relative_position_index(window)
        self.register_buffer("relative_position_index", index, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        b, h, w, c = x.shape
        plan = window_plan(b, h, w, self.window, self.shift, x.device)
        qkv = linear(x, self.qkv.weight, self.qkv.bias).reshape(-1, 3 * c)
        rows = qkv.index_select(0, plan.source)
        if len(plan.padding):
            rows[plan.padding] = self.qkv.bias.to(rows.dtype)
        tokens = self.window**2
        q, k, v = rows.view(-1, tokens, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        bias = self._position_bias()
        outputs, start = [], 0
        for count, last_row, last_column in plan.groups:
            mask = bias + shift_mask(self.window, self.shift, last_row, last_column, x.device)
            part = slice(start, start + count)
            mask = mask.to(q.dtype)[None]
            attended = F.scaled_dot_product_attention(q[part], k[part], v[part], attn_mask=mask)
            outputs.append(attended.transpose(1, 2).reshape(-1, c))
            start += count
        joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        joined = joined.index_select(0, plan.target).view(b, h, w, c)
        return linear(joined, self.proj.weight, self.proj.bias)

    def _position_bias(self) -> Tensor:
        tokens = self.window**2
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        return bias.view(tokens, tokens, self.heads).permute(2, 0, 1).contiguous()


def relative_position_index(window: int) -> Tensor:
    """(window², window²) row of the bias table for each pair of tokens (Swin, eq. 4)."""
    at = torch.stack(torch.meshgrid(*[torch.arange(window)] * 2, indexing="ij")).flatten(1)
    offset: Tensor = at[:, :, None] - at[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


@lru_cache(maxsize=64)
def shift_mask(
    window: int, shift: int, last_row: bool, last_column: bool, device: torch.device
) -> Tensor:
    """(window², window²): 0, or MASKED between tokens that are not neighbours in the image.

    After the cyclic shift the last window of an axis holds both ends of the map.
    """
    with torch.inference_mode(False):
        far = torch.arange(window, device=device) >= window - shift
        region = (far & last_row).view(-1, 1) * 2 + (far & last_column).view(1, -1) * 1
        region = region.flatten()
        return (region[:, None] != region[None, :]).float() * MASKED

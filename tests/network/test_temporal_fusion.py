"""Past volumes must stay where they are in the world while the robot moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.network.temporal_fusion import PastVolume, TemporalFusion, warp

GRID = VoxelGrid((-6.0, -4.0, -1.0), 0.5, (24, 18, 6))


def tensor(transform: RigidTransform) -> torch.Tensor:
    return torch.from_numpy(transform.matrix).float()[None]


def turned(yaw_deg: float, translation: tuple[float, float, float]) -> RigidTransform:
    half = np.radians(yaw_deg) / 2
    return RigidTransform.from_quaternion([0, 0, np.sin(half), np.cos(half)], translation)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_identity_keeps_the_volume() -> None:
    volume = noise(2, 3, *GRID.size)
    motion = tensor(RigidTransform.identity()).expand(2, 4, 4)
    torch.testing.assert_close(warp(volume, motion, GRID), volume, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shift", [(2, 0, 0), (0, -3, 0), (0, 0, 1), (4, 2, -1)])
def test_whole_cells_of_driving_shift_the_volume(shift: tuple[int, int, int]) -> None:
    volume = noise(1, 3, *GRID.size)
    # The robot drove by `shift` cells: what stood in cell i stands in cell i - shift now.
    drove = tuple(0.5 * s for s in shift)
    moved = warp(volume, tensor(RigidTransform(np.eye(3), np.array(drove))), GRID)
    wanted = torch.zeros_like(volume)
    for index in np.ndindex(*GRID.size):
        source = tuple(i + s for i, s in zip(index, shift, strict=True))
        if all(0 <= s < n for s, n in zip(source, GRID.size, strict=True)):
            wanted[(0, slice(None), *index)] = volume[(0, slice(None), *source)]
    torch.testing.assert_close(moved, wanted, atol=1e-4, rtol=1e-4)


def test_a_blob_stays_in_the_world_through_a_turn() -> None:
    centres = torch.from_numpy(GRID.centres()).float()
    blob_in_past = np.array([2.1, -0.6, 0.4])
    volume = torch.exp(-((centres - torch.tensor(blob_in_past)) ** 2).sum(-1) / 4)[None, None]
    past_from_current = turned(35.0, (0.8, -0.5, 0.2))
    moved = warp(volume, tensor(past_from_current), GRID)[0, 0]
    blob_in_current = past_from_current.inverse().apply(blob_in_past)
    wanted = torch.exp(-((centres - torch.tensor(blob_in_current)) ** 2).sum(-1) / 4)
    # Linear interpolation is off by at most h²/8 times the second derivative, 0.5, on each axis.
    assert (moved - wanted).abs()[2:-2, 2:-2, 1:-1].max() < 3 * 0.5**2 / 8 * 0.5
    peak = centres.reshape(-1, 3)[moved.argmax()].numpy()
    assert np.abs(peak - blob_in_current).max() <= 0.75 * GRID.resolution_m


def test_columns_move_within_the_plane() -> None:
    volume = noise(1, 4, 24, 18)
    past_from_current = turned(20.0, (1.3, 0.4, 0.0))
    as_columns = warp(volume[..., None], tensor(past_from_current), GRID)[..., 0]
    tall = warp(volume[..., None].expand(-1, -1, -1, -1, 6), tensor(past_from_current), GRID)
    torch.testing.assert_close(as_columns, tall[..., 3], atol=1e-4, rtol=1e-4)
    lifted = turned(20.0, (1.3, 0.4, 0.7))
    torch.testing.assert_close(warp(volume[..., None], tensor(lifted), GRID)[..., 0], as_columns)


def test_fusion_puts_the_newest_frame_first_and_pads_with_nothing() -> None:
    torch.manual_seed(0)
    fusion = TemporalFusion(3, 2, GRID).eval()
    current, first, second = (noise(1, 3, *GRID.size) + i for i in range(3))
    still = tensor(RigidTransform.identity())
    frames = [PastVolume(first, still), PastVolume(second, still)]
    with torch.no_grad():
        torch.testing.assert_close(
            fusion(current, frames), fusion.join(torch.cat([current, first, second], 1))
        )
        torch.testing.assert_close(
            fusion(current, frames[:1]),
            fusion.join(torch.cat([current, first, torch.zeros_like(current)], 1)),
        )
    with pytest.raises(ValueError, match="3 past frames, but temporal.past_frames = 2"):
        fusion(current, [frames[0]] * 3)

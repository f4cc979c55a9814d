"""What is remembered: an analytic street whose wall, car and robot are where the test says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.network.occupancy_field import decode_probabilities
from renderocc_ros.network_config import MemoryConfig
from renderocc_ros.prediction.field_memory import FieldMemory

GRID = VoxelGrid((-10.0, -10.0, -1.0), 0.5, (40, 40, 4))
CLASSES = load_class_set("occ3d")
WALL, CAR = CLASSES.id_of("manmade"), CLASSES.id_of("car")
SECOND = 1_000_000_000
EVERYWHERE = torch.ones(GRID.size, dtype=torch.bool)


def pose(x: float, y: float = 0.0, yaw_deg: float = 0.0) -> RigidTransform:
    cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return RigidTransform(np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]), np.array([x, y, 0]))


def sure_of(opacity: Tensor, class_id: Tensor) -> Tensor:
    """Probabilities (X, Y, Z, 18) of these opacities, all of it one class's."""
    probabilities = torch.zeros(*GRID.size, 18)
    probabilities.scatter_(3, class_id[..., None], opacity[..., None].float())
    probabilities[..., 17] = 1 - opacity
    return probabilities


def seen(at: RigidTransform, wall_m: float, sure: float) -> Tensor:
    """A wall across the street at odometry x = ``wall_m``, 0.5 m thick, of this opacity."""
    x = torch.from_numpy(at.apply(GRID.centres().reshape(-1, 3))[:, 0]).view(GRID.size)
    wall = (x > wall_m) & (x < wall_m + 0.5)
    return sure_of(torch.where(wall, sure, 0.02).float(), torch.full(GRID.size, WALL))


class Stream:
    """Sets at the same pace through a memory."""

    def __init__(self, pace_s: float = 0.5, **config: float) -> None:
        self.memory = FieldMemory(
            GRID, MemoryConfig(**config), CLASSES.moving_ids, torch.device("cpu")
        )
        self.pace_s, self.stamp_ns = pace_s, 5 * SECOND

    def __call__(
        self,
        own: Tensor,
        at: RigidTransform | None,
        in_view: Tensor = EVERYWHERE,
        after_s: float | None = None,
    ) -> Tensor:
        self.stamp_ns += round((self.pace_s if after_s is None else after_s) * SECOND)
        labels = decode_probabilities(own[None], 0.5, "class").labels[0]
        return self.memory.blended(own, labels, in_view, self.stamp_ns, at)


def opacity_at(probabilities: Tensor, x_m: float, y_m: float = 0.1) -> float:
    index, inside = GRID.index_of(np.array([[x_m, y_m, 0.1]]))
    assert inside.all()
    x, y, z = index[0]
    return 1 - probabilities[x, y, z, -1].item()


def test_the_first_look_is_the_field_itself() -> None:
    own = seen(pose(0), 6.0, 0.4)
    torch.testing.assert_close(Stream()(own, pose(0)), own)


def test_two_looks_from_two_places_are_averaged_by_how_near_they_were() -> None:
    """From 8.25 m and then, 4 m farther on, from 4.25 m; weights by hand."""
    stream = Stream(half_life_s=0.5, trusted_m=5.0)
    stream(seen(pose(0), 8.0, 0.2), pose(0))
    blended = stream(seen(pose(4.0), 8.0, 0.8), pose(4.0))
    far, near = (1 / (1 + (math.hypot(x, 0.25) / 5) ** 2) for x in (8.25, 4.25))
    expected = (0.5 * far * 0.2 + near * 0.8) / (0.5 * far + near)  # a half-life went by
    assert opacity_at(blended, 4.25, 0.25) == pytest.approx(expected, abs=1e-3)
    assert opacity_at(blended, 3.6) == pytest.approx(0.02, abs=1e-3)  # before it nothing is
    assert (blended[..., :-1].argmax(-1) == WALL).all()


@pytest.mark.parametrize(("step_m", "yaw_deg"), [(0.07, 0.0), (0.26, 0.0), (0.2, 1.3), (0.0, 3.7)])
def test_nothing_drifts_however_slowly_the_robot_moves(step_m: float, yaw_deg: float) -> None:
    """The wall was seen once, from the start; then cameras look elsewhere for 4 m or 60 degrees."""
    stream = Stream(pace_s=0.1, half_life_s=1e3, max_gap_s=2)
    stream(seen(pose(0), 7.0, 0.9), pose(0))
    nothing = sure_of(torch.full(GRID.size, 0.02), torch.full(GRID.size, WALL))
    steps = min(int(4 / step_m) if step_m else 99, int(60 / yaw_deg) if yaw_deg else 99)
    for number in range(1, steps + 1):
        here = pose(number * step_m, 0, number * yaw_deg)
        blended = stream(nothing, here, ~EVERYWHERE)
    across = np.stack([np.arange(5.25, 9.3, 0.25), np.full(17, 0.1), np.full(17, 0.1)], axis=1)
    along = here.inverse().apply(across)[:, :2]
    result = np.array([opacity_at(blended, x, y) for x, y in along])
    present = across[result > 0.5, 0]
    assert result.max() > 0.8 and result.min() < 0.1
    assert np.abs(present - 7.25).max() < 0.8 and abs(present.mean() - 7.25) < 0.3


def test_a_car_that_has_left_leaves_no_ghost_and_one_that_comes_is_whole_at_once() -> None:
    stream = Stream(half_life_s=10.0)
    car = torch.zeros(GRID.size, dtype=torch.bool)
    car[30:34, 18:22, 1:3] = True
    classes = torch.where(car, CAR, WALL)
    present = sure_of(torch.where(car, 0.9, 0.02), classes)
    gone = sure_of(torch.full(GRID.size, 0.02), torch.full(GRID.size, WALL))
    for _ in range(6):
        stream(gone, pose(0))
    arrived = stream(present, pose(0))
    assert opacity_at(arrived, 6.0) == pytest.approx(0.9, abs=1e-3)
    for _ in range(5):
        stream(present, pose(0))
    assert opacity_at(stream(gone, pose(0)), 6.0) == pytest.approx(0.02, abs=1e-3)


def test_where_no_camera_looks_the_memory_speaks() -> None:
    stream = Stream(half_life_s=10.0)
    stream(seen(pose(0), 6.0, 0.9), pose(0))
    guess = sure_of(torch.full(GRID.size, 0.3), torch.full(GRID.size, CAR))
    ahead = torch.zeros(GRID.size, dtype=torch.bool)
    ahead[:20] = True  # behind the robot alone
    blended = stream(guess, pose(0), ahead)
    assert opacity_at(blended, 6.25) == pytest.approx(0.9, abs=0.02)
    assert opacity_at(blended, 4.0) == pytest.approx(0.02, abs=0.02)


@pytest.mark.parametrize(
    ("after_s", "at"), [(0.0, 0.0), (-3.0, 0.0), (1.6, 0.0), (0.5, 200.0)],
    ids=["same-stamp", "back-in-time", "long-gap", "odometry-jump"],
)  # fmt: skip
def test_jumps_start_anew(after_s: float, at: float) -> None:
    stream = Stream(half_life_s=10.0)
    stream(seen(pose(0), 6.0, 0.9), pose(0))
    nothing = sure_of(torch.full(GRID.size, 0.02), torch.full(GRID.size, WALL))
    blended = stream(nothing, pose(at), after_s=after_s)
    assert opacity_at(blended, 6.25) == pytest.approx(0.02, abs=1e-3)


def test_reset_and_a_missing_pose() -> None:
    stream = Stream(half_life_s=10.0)
    stream(seen(pose(0), 6.0, 0.9), pose(0))
    nothing = sure_of(torch.full(GRID.size, 0.02), torch.full(GRID.size, WALL))
    assert stream(nothing, None) is nothing  # no pose is no standing still
    assert opacity_at(stream(nothing, pose(0)), 6.25) > 0.3
    stream.memory.reset()
    assert opacity_at(stream(nothing, pose(0)), 6.25) == pytest.approx(0.02, abs=1e-3)

"""The map over time, on scenes whose every cell is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import RigidTransform, VoxelGrid
from renderocc_ros.network_config import ReadOut
from renderocc_ros.prediction.occupancy_map import LOOK_BOUNDS, MapOptions, OccupancyMap

GRID = VoxelGrid((-8.0, -8.0, -1.0), 1.0, (16, 16, 4))
ALL = np.ones(GRID.size, bool)
SECOND = 1_000_000_000
WALL, CAR = 15, 4  # manmade, car


def make_map(occ3d: ClassSet, size_m: float = 30.0, **options: float) -> OccupancyMap:
    return OccupancyMap(
        GRID, occ3d, 0.5, "opacity", MapOptions((size_m, size_m), **options), torch.device("cpu")
    )


def pose(x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> RigidTransform:
    cos, sin = np.cos(yaw), np.sin(yaw)
    return RigidTransform(
        np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]]), np.array([x, y, z])
    )


def look(occupied: np.ndarray, class_id: int = WALL, sure: float = 0.8) -> torch.Tensor:
    """Class probabilities of a set that sees some cells occupied, and is so sure of all."""
    probabilities = np.full((*GRID.size, 18), (1 - sure) / 17, np.float32)
    probabilities[..., -1] = np.where(occupied, 1 - sure, sure)
    probabilities[..., class_id] = np.where(occupied, sure - 16 * (1 - sure) / 17, 1e-3)
    return torch.from_numpy(probabilities / probabilities.sum(axis=-1, keepdims=True))


def scene(odom_from_ego: RigidTransform) -> np.ndarray:
    """(X, Y, Z) whether a cell's centre lies in a wall from x = 4 to 6 m of the odometry frame."""
    x = odom_from_ego.apply(GRID.centres())[..., 0]
    return (x > 4) & (x < 6)


def at(result: object, point: tuple[float, float, float]) -> int:
    (index,), (inside,) = result.grid.index_of([point])  # type: ignore[attr-defined]
    assert inside
    return int(result.labels[tuple(index)])  # type: ignore[attr-defined]


def test_a_wall_seen_from_two_places_is_at_one(occ3d: ClassSet) -> None:
    mapped = make_map(occ3d)
    for number, robot in enumerate((pose(), pose(2.0, 1.0, yaw=0.6))):
        mapped.update(look(scene(robot)), ALL, ALL, number * SECOND, robot)
    result = mapped.occupancy()
    known = result.labels != IGNORE_ID
    x = result.grid.centres()[..., 0]
    inside = (x > 4) & (x < 6)
    # Where both looks fell into cells of the same kind; a turned grid rounds at its edges.
    sure = known & ((np.abs(x - 4) > 1) & (np.abs(x - 6) > 1))
    assert sure.sum() > 500
    assert np.array_equal(result.labels[sure] == WALL, inside[sure])
    assert (result.labels[known & ~inside & sure] == occ3d.free_id).all()


def test_many_unsure_looks_are_surer_than_one(occ3d: ClassSet) -> None:
    mapped, confidences = make_map(occ3d), []
    for number in range(20):
        mapped.update(look(scene(pose()), sure=0.6), ALL, ALL, number * SECOND, pose())
        confidences.append(int(mapped.occupancy().confidence.max()))
    assert confidences == sorted(confidences) and confidences[0] < 140 < 200 < confidences[-1]
    odds = np.log(confidences[-1] / (255 - confidences[-1]))
    assert odds < 3.1  # bounded: it can change its mind


def test_a_wrong_look_is_outvoted(occ3d: ClassSet) -> None:
    mapped = make_map(occ3d)
    for number in range(9):
        mapped.update(look(scene(pose())), ALL, ALL, number * SECOND, pose())
    mapped.update(look(~scene(pose())), ALL, ALL, 9 * SECOND, pose())
    assert np.array_equal(mapped.around(pose()).labels == WALL, scene(pose()))


def test_a_car_that_has_left_leaves_no_ghost_and_one_that_arrives_is_there(occ3d: ClassSet) -> None:
    mapped = make_map(occ3d)
    here, there = np.zeros(GRID.size, bool), np.zeros(GRID.size, bool)
    here[10, 8, 1], there[13, 8, 1] = True, True
    for number, cells in enumerate((here, here, here, there, there)):
        mapped.update(look(cells, CAR), ALL, ALL, number * SECOND, pose())
        assert np.array_equal(mapped.around(pose()).labels == CAR, cells), number


def test_what_moves_fades_while_nobody_looks(occ3d: ClassSet) -> None:
    mapped = make_map(occ3d, moving_half_life_s=1.0)
    car = np.zeros(GRID.size, bool)
    car[10, 8, 1] = True
    wall = scene(pose())
    probabilities = look(wall & ~car)
    probabilities[10, 8, 1] = look(car, CAR)[10, 8, 1]
    mapped.update(probabilities, ALL, ALL, 0, pose())
    first = mapped.around(pose())
    assert first.labels[10, 8, 1] == CAR
    mapped.update(probabilities, ~ALL, ~ALL, 1 * SECOND, pose())
    second = mapped.around(pose())
    assert second.labels[10, 8, 1] == CAR
    assert second.confidence[10, 8, 1] < first.confidence[10, 8, 1]
    mapped.update(probabilities, ~ALL, ~ALL, 30 * SECOND, pose())
    last = mapped.around(pose())
    assert last.labels[10, 8, 1] == IGNORE_ID and last.confidence[10, 8, 1] == 0
    assert np.array_equal(last.labels == WALL, wall & ~car)  # what stands stays


def test_what_no_camera_sees_stays_as_it_is(occ3d: ClassSet) -> None:
    mapped = make_map(occ3d)
    seen = np.zeros(GRID.size, bool)
    seen[:8] = True
    mapped.update(look(scene(pose())), seen, seen, 0, pose())
    known = mapped.around(pose()).labels != IGNORE_ID
    assert np.array_equal(known, seen)
    mapped.update(look(~scene(pose())), ~ALL, ~ALL, SECOND, pose())
    assert np.array_equal(mapped.around(pose()).labels != IGNORE_ID, seen)


def test_the_ring_is_a_window_of_an_endless_map(occ3d: ClassSet) -> None:
    """Beside a dictionary of cells that forgets nothing but what leaves the window."""
    random = np.random.default_rng(0)
    mapped, plain = make_map(occ3d, size_m=20.0), {}
    robot = np.zeros(3)
    for number in range(30):
        robot = robot + random.uniform(-3, 5, 3) * (1, 1, 0.2)
        odom_from_ego = pose(*robot)  # no turn: a cell of the set is one of the map
        occupied, visible = random.random((2, *GRID.size)) < 0.3
        probabilities = look(occupied)
        mapped.update(probabilities, visible, visible, number * SECOND, odom_from_ego)
        result = mapped.occupancy()
        low = np.round(np.array(result.grid.origin_m)).astype(int)
        high = low + result.grid.size
        plain = {c: v for c, v in plain.items() if ((c >= low) & (c < high)).all()}
        distance_m = np.linalg.norm(GRID.centres()[..., :2], axis=-1)
        for cell in np.ndindex(*result.grid.size):
            centre = low + np.array(cell) + 0.5
            (index,), (inside,) = GRID.index_of([odom_from_ego.inverse().apply(centre)])
            index = tuple(index)
            if not inside or not visible[index]:
                continue
            weight = 0.25 / (1 + (distance_m[index] / 12) ** 2)
            p = float(1 - probabilities[index][-1])
            place = tuple((low + cell).tolist())
            odds = plain.get(place, 0.0) + weight * np.clip(np.log(p / (1 - p)), *LOOK_BOUNDS)
            plain[place] = float(np.clip(odds, -3, 3))
        if number % 10:
            continue
        expected = np.full(result.grid.size, IGNORE_ID)
        for place, odds in plain.items():
            expected[tuple(np.array(place) - low)] = WALL if odds > 0 else occ3d.free_id
        unsure = np.zeros(result.grid.size, bool)
        for place, odds in plain.items():
            unsure[tuple(np.array(place) - low)] = abs(odds) < 1e-3
        assert np.array_equal(result.labels[~unsure], expected[~unsure]), number
    assert len(plain) > 300


def test_reset_and_a_robot_that_is_suddenly_elsewhere(occ3d: ClassSet) -> None:
    mapped = make_map(occ3d)
    mapped.update(look(scene(pose())), ALL, ALL, 0, pose())
    mapped.update(look(scene(pose())), ~ALL, ~ALL, SECOND, pose(1000.0))
    assert (mapped.occupancy().labels == IGNORE_ID).all()
    mapped.update(look(scene(pose())), ALL, ALL, 2 * SECOND, pose())
    mapped.reset()
    mapped.update(look(scene(pose())), ~ALL, ~ALL, 3 * SECOND, pose())
    assert (mapped.occupancy().labels == IGNORE_ID).all()


@pytest.mark.parametrize("read_out", ["opacity", "class"])
def test_every_cell_adds_up_as_the_formulas_say(occ3d: ClassSet, read_out: ReadOut) -> None:
    """Beside the same in NumPy, cell after cell, of random looks from a robot that turns and tilts.

    Cells are visible, hidden or out of view, and some looks are no number. The robot stays within
    a cell, and so the window where it is.
    """
    random, threshold = np.random.default_rng(2), 0.3
    mapped = OccupancyMap(
        GRID, occ3d, threshold, read_out, MapOptions((24, 24)), torch.device("cpu")
    )
    window = VoxelGrid((-12.0, -12.0, -1.0), 1.0, (24, 24, 4))
    odds, classes = np.zeros(window.size), np.zeros((*window.size, 17))
    moving = np.isin(np.arange(256), sorted(occ3d.moving_ids))
    weight = 0.25 / (1 + (np.linalg.norm(GRID.centres()[..., :2], axis=-1) / 12) ** 2)
    brink = np.log(threshold / (1 - threshold))
    labels = np.full(window.size, IGNORE_ID)
    for number in range(12):
        turned = Rotation.from_euler("xyz", random.uniform((-0.1, -0.1, -3), (0.1, 0.1, 3)))
        robot = RigidTransform(turned.as_matrix(), random.uniform(0.1, 0.4, 3))
        probabilities = random.dirichlet([0.2] * 17 + [3.0], GRID.size)
        in_view, broken = random.random((2, *GRID.size)) < [[[[0.8]]], [[[0.05]]]]
        visible = in_view & (random.random(GRID.size) < 0.5)
        given = torch.from_numpy(np.where(broken[..., None], np.nan, probabilities)).float()
        mapped.update(given, in_view, visible, number * SECOND // 2, robot)

        was_moving = moving[labels]
        odds[was_moving] *= 0.5
        odds[was_moving & (odds < 0.05)] = 0
        index, inside = GRID.index_of(robot.inverse().apply(window.centres()))
        place = tuple(np.moveaxis(index, -1, 0))
        looks = probabilities[place]
        likeliest, free = looks[..., :-1].max(axis=-1), looks[..., -1]
        occupied = 1 - free if read_out == "opacity" else likeliest / (likeliest + free)
        sure = np.clip(occupied, 1e-3, 1 - 1e-3)
        look = np.clip(np.log(sure / (1 - sure)) - brink, *LOOK_BOUNDS)
        says = inside & ~broken[place] & (visible[place] | (in_view[place] & (look > 0)))
        solid = says & (look > 0)
        changes = says & (was_moving & (odds > 0) | solid & moving[looks[..., :-1].argmax(axis=-1)])
        odds[changes], classes[changes] = 0, 0
        odds[says] = np.clip(odds + look * weight[place], -3, 3)[says]
        shares = looks[..., :-1] / looks[..., :-1].sum(axis=-1, keepdims=True)
        added = np.log(np.maximum(shares, 0.2)) * (occupied * weight[place])[..., None]
        classes[solid] = (classes + added)[solid]
        classes = np.maximum(classes - classes.max(axis=-1, keepdims=True), -3)
        labels = np.where(odds > 0, classes.argmax(axis=-1), occ3d.free_id)
        labels[np.abs(odds) <= 1e-4] = IGNORE_ID

        result = mapped.occupancy()
        assert result.grid == window
        assert (result.labels == labels).mean() > 0.999  # but where rounding decides
        confidence = np.where(labels == IGNORE_ID, 0, 255 / (1 + np.exp(-odds)))
        assert (np.abs(result.confidence - confidence) < 0.6).mean() > 0.999
    assert (labels == IGNORE_ID).mean() > 0.1 and np.unique(labels).size == 19


@pytest.mark.parametrize("threshold", [0.16, 0.5, 0.8])
@pytest.mark.parametrize("read_out", ["opacity", "class"])
def test_one_look_is_read_as_the_network_reads_it(
    occ3d: ClassSet, threshold: float, read_out: str
) -> None:
    from renderocc_ros.network.occupancy_field import decode_probabilities

    probabilities = torch.from_numpy(
        np.random.default_rng(1).dirichlet(np.full(18, 0.3), GRID.size).astype(np.float32)
    )
    mapped = OccupancyMap(
        GRID,
        occ3d,
        threshold,
        read_out,
        MapOptions((30, 30)),
        torch.device("cpu"),  # type: ignore[arg-type]
    )
    mapped.update(probabilities, ALL, ALL, 0, pose())
    result = mapped.around(pose())
    alone = decode_probabilities(probabilities, threshold, read_out).labels.numpy()  # type: ignore[arg-type]
    known = result.labels != IGNORE_ID
    assert known.mean() > 0.95
    assert np.array_equal((result.labels < 17)[known], (alone < 17)[known])
    clear = known & (probabilities.numpy()[..., :-1].max(axis=-1) > 0.3)
    assert clear.mean() > 0.3 and np.array_equal(result.labels[clear], alone[clear])


def test_what_stands_behind_something_counts_and_free_space_there_does_not(
    occ3d: ClassSet,
) -> None:
    mapped = make_map(occ3d)
    mapped.update(look(scene(pose())), ALL, ~ALL, 0, pose())
    result = mapped.around(pose())
    assert np.array_equal(result.labels == WALL, scene(pose()))
    assert (result.labels[~scene(pose())] == IGNORE_ID).all()


def test_what_is_no_number_says_nothing(occ3d: ClassSet) -> None:
    mapped, expected = make_map(occ3d), make_map(occ3d)
    broken = look(scene(pose()))
    broken[4:9, :, 1, WALL] = float("nan")
    broken[:, 3, :, -1] = float("inf")
    heard = broken.isfinite().all(dim=-1).numpy()
    for number, robot in enumerate((pose(), pose(1.0, 2.0))):
        mapped.update(broken, ALL, ALL, number * SECOND, robot)
        expected.update(look(scene(pose())), heard, heard, number * SECOND, robot)
    assert not heard.all()
    assert np.array_equal(mapped.occupancy().labels, expected.occupancy().labels)
    assert np.array_equal(mapped.occupancy().confidence, expected.occupancy().confidence)

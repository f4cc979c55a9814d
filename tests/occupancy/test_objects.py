"""Objects and their boxes, in scenes that are known."""

from __future__ import annotations

from collections import deque
from itertools import product

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.objects import ObjectBox, connected_components, object_boxes
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

GRID = VoxelGrid((-10.0, -8.0, -1.0), 0.5, (40, 32, 8))


def scene(occ3d: ClassSet, **voxels: list[tuple[int, int, int]]) -> SemanticOccupancy:
    """Free space with some voxels of some classes."""
    labels = np.full(GRID.size, occ3d.free_id, np.uint8)
    for name, cells in voxels.items():
        labels[tuple(np.array(cells).T)] = occ3d.id_of(name)
    return SemanticOccupancy(5, GRID, occ3d, labels, np.full(GRID.size, 204, np.uint8))


def block(x: range, y: range, z: range) -> list[tuple[int, int, int]]:
    return list(product(x, y, z))


def searched(cells: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Components by a search from cell to cell."""
    numbers = {tuple(cell): n for n, cell in enumerate(cells.tolist())}
    result, count = np.full(len(cells), -1), 0
    for start in range(len(cells)):
        if result[start] >= 0:
            continue
        result[start], queue = count, deque([start])
        while queue:
            at = queue.popleft()
            for step in product((-1, 0, 1), repeat=3):
                other = numbers.get(tuple((cells[at] + step).tolist()))
                if other is not None and result[other] < 0 and labels[other] == labels[at]:
                    result[other] = count
                    queue.append(other)
        count += 1
    return result


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("size", [(12, 9, 7), (20, 1, 5), (1, 1, 30), (1, 1, 1)])
def test_components_are_those_of_a_search(share: float, size: tuple[int, int, int]) -> None:
    random = np.random.default_rng(2)
    cells = np.argwhere(random.random(size) < share)
    labels = random.integers(0, 2, len(cells)).astype(np.uint8)
    for shift in (0, 40):
        components = connected_components(cells + shift, labels)
        assert np.array_equal(components, searched(cells, labels))


def test_a_long_winding_object_is_one() -> None:
    volume = np.zeros((41, 41, 1), bool)
    volume[::2] = True
    volume[1::4, -1] = volume[3::4, 0] = True
    cells = np.argwhere(volume)
    assert connected_components(cells, np.zeros(len(cells), np.uint8)).max() == 0


def test_a_box_has_the_size_of_its_voxels_and_the_mean_of_their_scores(occ3d: ClassSet) -> None:
    result = scene(occ3d, car=block(range(10, 19), range(4, 8), range(2, 5)))
    result.confidence[10:19, 4:8, 2] = 102
    (box,) = object_boxes(result, ["car"])
    assert box.label == occ3d.id_of("car")
    assert box.size_m == pytest.approx((4.5, 2.0, 1.5))
    assert box.centre_m == pytest.approx((-2.75, -5.0, 0.75))
    assert box.yaw_rad == pytest.approx(0)
    assert box.score == pytest.approx((0.4 + 0.8 + 0.8) / 3)


@pytest.mark.parametrize("turned_deg", [-80, -45, -20, 0, 30, 60, 90])
def test_the_longer_side_gives_the_direction(occ3d: ClassSet, turned_deg: int) -> None:
    """A car of 6 × 2.4 m: its voxels are those whose centres lie within."""
    turn = np.radians(turned_deg)
    x, y = np.moveaxis(GRID.centres()[:, :, 0, :2] - (0.3, 0.2), -1, 0)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    inside = (np.abs(along) < 3) & (np.abs(across) < 1.2)
    labels = np.where(inside, occ3d.id_of("car"), occ3d.free_id).astype(np.uint8)
    labels = np.repeat(labels[:, :, None], GRID.size[2], axis=2)
    result = SemanticOccupancy(5, GRID, occ3d, labels, labels)
    (box,) = object_boxes(result, ["car"])
    off = (box.yaw_rad - turn + np.pi / 2) % np.pi - np.pi / 2
    assert abs(off) < 0.1 and -np.pi / 2 <= box.yaw_rad < np.pi / 2
    assert box.centre_m[:2] == pytest.approx((0.3, 0.2), abs=0.25)
    assert box.size_m == pytest.approx((6.0, 2.4, 4.0), abs=0.5)


def test_voxels_that_touch_at_a_corner_are_one_object_and_other_classes_are_others(
    occ3d: ClassSet,
) -> None:
    result = scene(occ3d, car=[(3, 3, 3), (4, 4, 4), (20, 3, 3)], truck=[(5, 5, 5), (5, 5, 6)])

    def outline(boxes: list[ObjectBox]) -> list[tuple[str, float]]:
        return [(occ3d.names[box.label], round(box.size_m[2], 2)) for box in boxes]

    assert outline(object_boxes(result, ["car", "truck"])) == [
        ("car", 1.0),
        ("truck", 1.0),
        ("car", 0.5),
    ]
    assert outline(object_boxes(result, ["car", "truck"], 2)) == [("car", 1.0), ("truck", 1.0)]
    assert outline(object_boxes(result, ["truck"])) == [("truck", 1.0)]
    assert object_boxes(result, []) == object_boxes(result, ["bus"]) == []


def test_one_voxel_and_one_that_no_camera_looks_into(occ3d: ClassSet) -> None:
    result = scene(occ3d, pedestrian=[(0, 0, 0), (39, 31, 7)])
    in_view = np.ones(GRID.size, bool)
    in_view[0, 0, 0] = False
    seen = SemanticOccupancy(5, GRID, occ3d, result.labels, result.confidence, in_view)
    (box,) = object_boxes(seen, ["pedestrian"])
    assert box.size_m == (0.5, 0.5, 0.5) and box.yaw_rad == 0
    assert box.centre_m == pytest.approx((9.75, 7.75, 2.75))


def test_a_full_grid_is_one_object(occ3d: ClassSet) -> None:
    labels = np.full(GRID.size, occ3d.id_of("bus"), np.uint8)
    (box,) = object_boxes(SemanticOccupancy(5, GRID, occ3d, labels, labels), ["bus"])
    assert box.size_m == (20.0, 16.0, 4.0) and box.centre_m == (0.0, 0.0, 1.0)

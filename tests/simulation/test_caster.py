"""The ray caster against known scenes and against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from renderocc_simulation.caster import MISS, Instant, StaticScene
from renderocc_simulation.mesh import Mesh, MeshBuilder


def room() -> Mesh:
    """A box from -4 to 4, -3 to 3, 0 to 2.5 m, of class 3."""
    builder = MeshBuilder(3)
    builder.box((0, 0, 1.25), (8, 6, 2.5), material=0)
    return builder.build()


def ball() -> Mesh:
    builder = MeshBuilder(5)
    builder.box((2, 0, 1.0), (0.5, 0.5, 0.5), material=1)
    return builder.build()


def test_a_room_has_the_ranges_of_its_walls() -> None:
    instant = Instant(StaticScene(room()), Mesh.empty())
    eye = np.array([1.0, 0.5, 1.0])
    directions = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    hits = instant.cast(eye, directions)
    np.testing.assert_allclose(hits.range_m, [3.0, 5.0, 2.5, 3.5, 1.5, 1.0], atol=1e-5)
    np.testing.assert_allclose(hits.normal, -directions, atol=1e-6)
    assert instant.class_ids(hits, 255).tolist() == [3] * 6


def test_the_nearer_of_standing_and_moving_wins() -> None:
    instant = Instant(StaticScene(room()), ball())
    hits = instant.cast(np.array([0.0, 0.0, 1.0]), np.array([[1.0, 0, 0], [-1, 0, 0]]))
    np.testing.assert_allclose(hits.range_m, [1.75, 4.0], atol=1e-5)
    assert instant.class_ids(hits, 255).tolist() == [5, 3]


def test_meshes_that_move_change_and_come_back() -> None:
    static = StaticScene(room())
    faster = MeshBuilder(6)
    faster.tube((-2, 0, 0.5), (-2, 0, 1.5), 0.5, material=1, sides=64)
    nearer = replace(ball(), points=ball().points - np.float32([1, 0, 0]))
    for moving, ranges in (
        (ball(), [1.75, 4.0]),
        (nearer, [0.75, 4.0]),  # the same faces elsewhere
        (faster.build(), [4.0, 1.5]),  # others
        (ball(), [1.75, 4.0]),
    ):
        hits = Instant(static, moving).cast(
            np.array([0.0, 0.0, 1.0]), np.array([[1.0, 0, 0], [-1, 0, 0]])
        )
        np.testing.assert_allclose(hits.range_m, ranges, atol=1e-3)


def test_rays_that_meet_nothing_or_do_not_exist() -> None:
    instant = Instant(StaticScene(ball()), Mesh.empty())
    directions = np.array([[-1.0, 0, 0], [np.nan, np.nan, np.nan]])
    hits = instant.cast(np.array([0.0, 0.0, 1.0]), directions)
    assert hits.face.tolist() == [MISS, MISS]
    assert np.isinf(hits.range_m).all()
    assert instant.class_ids(hits, 255).tolist() == [255, 255]


def test_blocked_looks_only_so_far() -> None:
    instant = Instant(StaticScene(Mesh.empty()), room())
    eye, ahead = np.array([0, 0, 1.0]), np.array([[1.0, 0, 0]], np.float32)
    assert instant.blocked(eye, ahead, 4.1).tolist() == [True]
    assert instant.blocked(eye, ahead, 3.9).tolist() == [False]


def test_against_every_triangle_by_itself() -> None:
    rng = np.random.default_rng(2)
    corners = rng.uniform(-5, 5, (60, 1, 3)) + rng.normal(0, 1.2, (60, 3, 3))
    builder = MeshBuilder(0)
    builder.triangles(corners, 0)
    half = MeshBuilder(1)
    half.triangles(corners + 0.7, 0)
    instant = Instant(StaticScene(builder.build()), half.build())
    directions = rng.normal(size=(400, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    hits = instant.cast(np.zeros(3), directions)
    both = np.concatenate([corners, corners + 0.7])
    wanted = np.array([_nearest(both, direction) for direction in directions])
    np.testing.assert_allclose(hits.range_m, wanted, atol=1e-4)
    assert 20 < np.isfinite(wanted).sum() < 400
    met = hits.met
    a, b, c = (instant.gather("vertices", hits.face[met])[:, k] for k in range(3))
    u, v = hits.u[met, None], hits.v[met, None]
    points = (1 - u - v) * a + u * b + v * c
    np.testing.assert_allclose(points, directions[met] * hits.range_m[met, None], atol=1e-3)


def test_two_scenes_say_what_one_with_everything_says() -> None:
    rng = np.random.default_rng(3)
    parts = []
    for class_id, count in ((0, 4000), (1, 300)):
        corners = rng.uniform(-9, 9, (count, 1, 3)) + rng.normal(0, 0.4, (count, 3, 3))
        builder = MeshBuilder(class_id)
        builder.triangles(corners, 0)
        parts.append(builder.build())
    directions = rng.normal(size=(20000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    two = Instant(StaticScene(parts[0]), parts[1])
    one = Instant(StaticScene(Mesh.joined(parts)), Mesh.empty())
    result, wanted = (instant.cast(np.zeros(3), directions) for instant in (two, one))
    shares = np.bincount(one.class_ids(wanted, 2), minlength=3) / len(directions)
    assert (shares > 0.02).all()  # both kinds are met, and nothing
    for name in ("face", "range_m", "u", "v", "normal"):
        np.testing.assert_array_equal(getattr(result, name), getattr(wanted, name))


def _nearest(triangles: np.ndarray, direction: np.ndarray) -> float:
    """Möller and Trumbore (1997), one ray from the origin against all triangles."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p = np.cross(direction, second)
    determinant = np.einsum("ij,ij->i", first, p)
    start = -triangles[:, 0]
    u = np.einsum("ij,ij->i", start, p) / determinant
    q = np.cross(start, first)
    v = q @ direction / determinant
    t = np.einsum("ij,ij->i", second, q) / determinant
    valid = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return float(t[valid].min()) if valid.any() else np.inf


@pytest.mark.parametrize("count", [0, 1])
def test_it_counts_its_rays(count: int) -> None:
    instant = Instant(StaticScene(room()), ball() if count else Mesh.empty())
    instant.cast(np.zeros(3), np.tile([[1.0, 0, 0]], (10, 1)))
    assert instant.rays == 10 * (1 + count)

"""What single cameras and pairs of them say of their turns together."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest

from renderocc_ros.rig.turn_estimate import (
    PRIOR_RAD,
    Errors,
    Look,
    TurnEstimate,
    rotations,
    together,
)

ACCURATE = np.eye(3) / np.deg2rad(0.2) ** 2
X = np.array([np.deg2rad(3.0), 0, 0])


def known(turn_rad: np.ndarray, information: np.ndarray = ACCURATE) -> TurnEstimate:
    """An estimate that says so, to 0.2 degrees if nothing else is said."""
    return TurnEstimate(np.eye(3) / PRIOR_RAD**2 + information, information @ turn_rad)


def apart(turn_rad: np.ndarray, information: np.ndarray = ACCURATE) -> TurnEstimate:
    """Of two cameras, that the first is turned by so much more than the second."""
    difference = np.hstack([np.eye(3), -np.eye(3)])
    estimate = TurnEstimate.of_two()
    estimate.information += difference.T @ information @ difference
    estimate.weighted += difference.T @ information @ turn_rad
    return estimate


def test_rotations_are_those_of_opencv() -> None:
    turns = np.random.default_rng(0).normal(0, 0.5, (5, 3))
    for turn, rotation in zip(turns, rotations(turns), strict=True):
        np.testing.assert_allclose(cv2.Rodrigues(rotation)[0][:, 0], turn, atol=1e-12)


def lines(truth: np.ndarray, noise: float = 0.05, wrong: int = 0) -> Errors:
    """Errors that are linear in a turn and zero at a true one, but for some that are of chance."""
    random = np.random.default_rng(1)
    slope = random.normal(0, 300, (400, 3))
    measured = slope @ truth + random.normal(0, noise, 400)
    measured[:wrong] += random.normal(0, 40, wrong)

    def errors(turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return turns @ slope.T - measured, np.ones((len(turns), 400), bool)

    return errors


def look(errors: Errors, guess: np.ndarray, sigma_deg: float = 0.1) -> Look:
    return Look.at(errors, guess, 1e-4, np.deg2rad(sigma_deg))


NEAR = np.deg2rad([0.6, -0.4, 0.3])


@pytest.mark.parametrize("wrong", [0, 100])
def test_look_finds_the_turn_whatever_is_guessed(wrong: int) -> None:
    for guess in (np.zeros(3), np.deg2rad([20.0, -9.0, 5.0])):
        found = look(lines(NEAR, wrong=wrong), guess)
        turn = np.linalg.solve(found.information, found.weighted)
        np.testing.assert_allclose(np.rad2deg(turn), np.rad2deg(NEAR), atol=0.02)
        assert np.median(np.abs(found.off)) < 0.1


def test_look_says_no_more_than_its_common_error_allows() -> None:
    found = look(lines(NEAR), np.zeros(3), sigma_deg=1.5)
    np.testing.assert_allclose(np.linalg.eigvalsh(found.information), np.deg2rad(1.5) ** -2)


def test_one_wrong_look_does_not_make_the_right_ones_weigh_less() -> None:
    """Far from the estimate robust weights are small: a look is weighed where it is itself."""
    estimate = TurnEstimate()
    estimate.add(look(lines(np.deg2rad([9.0, -7.0, 8.0])), estimate.turn))
    for _ in range(20):
        estimate.add(look(lines(0 * NEAR), estimate.turn))
    assert np.rad2deg(np.linalg.norm(estimate.turn)) < 0.6


def test_what_was_known_is_slowly_forgotten() -> None:
    estimate = TurnEstimate()
    for turn in (*[NEAR] * 30, *[-NEAR] * 60):
        estimate.add(look(lines(turn), estimate.turn))
    assert np.linalg.norm(estimate.turn + NEAR) < 0.35 * np.linalg.norm(NEAR)


def test_error_in_common_adds_to_the_variance_however_many_looks() -> None:
    estimate = known(X, 1000 * ACCURATE).with_error(np.deg2rad(0.5))
    sigma_deg = np.rad2deg(np.linalg.inv(estimate.learned)[0, 0] ** 0.5)
    assert sigma_deg == pytest.approx(0.5, rel=0.01)
    np.testing.assert_allclose(estimate.turn, X, rtol=0.02)
    only_x = known(X, np.diag([1.0, 0, 0]) * ACCURATE).with_error(np.deg2rad(0.5))
    np.testing.assert_allclose(only_x.learned[1:], 0, atol=1e-6)


def test_turn_in_another_frame_is_the_same_turn() -> None:
    rotation = rotations(np.array([[0.4, -1.0, 0.7]]))[0]
    only_x = known(X, np.diag([1.0, 0, 0]) * ACCURATE).seen_from(rotation)
    turn, directions = only_x.known_turn()
    assert directions == 1
    np.testing.assert_allclose(turn, rotation @ X, rtol=0.01)


def test_small_turn_is_known_only_where_its_error_is_small_and_a_large_one_if_it_is_larger() -> (
    None
):
    rough = np.eye(3) / np.deg2rad(0.8) ** 2
    assert known(X / 3, rough).known_turn()[1] == 0
    turn, directions = known(X, rough).known_turn()
    assert directions == 1
    assert np.rad2deg(turn[0]) == pytest.approx(2.9, abs=0.1)


def test_cameras_without_pairs_stay_as_they_are() -> None:
    single = {"a": known(X), "b": known(-X), "c": TurnEstimate()}
    for name, estimate in together(single, {}).items():
        np.testing.assert_allclose(estimate.information, single[name].information)
        np.testing.assert_allclose(estimate.turn, single[name].turn, atol=1e-12)


@pytest.mark.parametrize("turned", range(4))
def test_the_one_that_none_of_its_neighbours_fits_is_turned(turned: int) -> None:
    names = "abcd"
    truth = {name: X * (number == turned) for number, name in enumerate(names)}
    ring = {tuple(sorted((a, b))): 0 for a, b in zip(names, names[1:] + names[:1], strict=True)}
    pairs = {(a, b): apart(truth[a] - truth[b]) for a, b in ring}
    found = together({name: TurnEstimate() for name in names}, pairs)
    for name, estimate in found.items():
        turn, directions = estimate.known_turn()
        assert directions == 3
        np.testing.assert_allclose(np.rad2deg(turn), np.rad2deg(truth[name]), atol=0.3)


def test_two_that_do_not_fit_do_not_say_which_is_wrong_until_one_of_them_knows() -> None:
    pairs = {("a", "b"): apart(X)}
    nothing = TurnEstimate()
    for estimate in together({"a": nothing, "b": nothing}, pairs).values():
        assert estimate.known_turn()[1] == 0
    found = together({"a": nothing, "b": known(0 * X)}, pairs)
    np.testing.assert_allclose(np.rad2deg(found["a"].known_turn()[0]), np.rad2deg(X), atol=0.2)
    np.testing.assert_allclose(np.rad2deg(found["b"].known_turn()[0]), 0, atol=0.2)


def test_what_pairs_do_not_see_stays_unknown() -> None:
    about_y = np.diag([1.0, 0, 1.0]) * ACCURATE  # two directions of three
    pairs = {pair: apart(0 * X, about_y) for pair in combinations("abc", 2)}
    found = together({name: TurnEstimate() for name in "abc"}, pairs)
    assert all(estimate.known_turn()[1] == 2 for estimate in found.values())


def test_most_likely_turns_are_those_that_a_search_finds() -> None:
    """The reweighted solution has no neighbour that is likelier (Cauchy's distribution)."""
    random = np.random.default_rng(5)
    truth = np.deg2rad(random.normal(0, 0.2, (4, 3)))
    truth[2] += X
    names = "abcd"
    pairs = {
        (names[i], names[j]): apart(truth[i] - truth[j] + np.deg2rad(random.normal(0, 0.1, 3)))
        for i, j in combinations(range(4), 2)
    }
    found = together({name: TurnEstimate() for name in names}, pairs)
    turns = np.array([found[name].turn for name in names])
    np.testing.assert_allclose(np.rad2deg(turns), np.rad2deg(truth), atol=0.5)
    assert np.rad2deg(np.linalg.norm(turns, axis=1)).argmax() == 2

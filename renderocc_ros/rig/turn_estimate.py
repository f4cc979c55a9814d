"""By how much cameras are turned against their mountings, from whatever depends on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Of K tries (K, 3 n), rotation vectors of n cameras one after another: errors (K, N) in standard
# deviations, and (K, N) which of them count.
Errors = Callable[[Floats], tuple[Floats, NDArray[np.bool_]]]

PRIOR_RAD, FORGETTING = np.deg2rad(5.0), 0.97
WIDTHS = 4.0, 2.0, 1.0  # of Cauchy's distribution, step by step: what is far off may become near
MAX_SIGMA_RAD, SURE = np.deg2rad(0.65), 3.5
# Mountings are right to about this, but for those few that are wrong; Cauchy's distribution.
USUAL_RAD, ROUNDS = np.deg2rad(0.4), 15


def rotations(turns: Floats) -> Floats:
    """Rotation matrices (K, 3, 3) of rotation vectors (K, 3), radians."""
    return np.stack([cv2.Rodrigues(turn)[0] for turn in turns])


def _prior(cameras: int) -> Floats:
    return np.asarray(np.eye(3 * cameras) / PRIOR_RAD**2)


@dataclass
class TurnEstimate:
    """Rotation vectors, radians, of one or more cameras as they are mounted.

    A Gauss-Newton estimate with a prior at zero, robust by Cauchy's weights, that slowly forgets.

    Attributes:
        information, weighted: inverse covariance (3 n, 3 n), and the same times the vectors.
    """

    information: Floats = field(default_factory=lambda: _prior(1))
    weighted: Floats = field(default_factory=lambda: np.zeros(3))

    @staticmethod
    def of_two() -> TurnEstimate:
        """Of two cameras, of which nothing is known."""
        return TurnEstimate(_prior(2), np.zeros(6))

    def add(
        self, errors: Errors, difference_rad: float, sigma_rad: float, alike: float = 1.0
    ) -> None:
        """What one look says.

        Args:
            errors: of the look, for turns that are tried.
            difference_rad: turn over which their slope is taken, to both sides.
            sigma_rad: what all errors of a look have in common is so large: it says no more than
                that allows.
            alike: how many neighbouring errors are of one cause, and count as one.
        """
        steps = difference_rad * np.eye(len(self.weighted))
        tries = np.concatenate([np.zeros((1, len(steps))), steps, -steps])
        before = FORGETTING * self.information + (1 - FORGETTING) * self._nothing
        pull_before = FORGETTING * self.weighted
        turn = self.turn
        for width in WIDTHS:
            all_off, counts = errors(turn + tries)
            off, more, less = np.split(all_off, [1, 1 + len(steps)])
            off, slope = off[0], (more - less) / (2 * difference_rad)
            weight = np.where(counts[0], 1 / (alike * (1 + (off / width) ** 2)), 0.0)
            own, push = (slope * weight) @ slope.T, (slope * weight) @ off
            strength, directions = np.linalg.eigh(own)
            share = np.minimum(1.0, sigma_rad**-2 / np.maximum(strength, 1e-9))
            limited = (directions * share) @ directions.T
            own, push = limited @ own, limited @ push
            self.information, self.weighted = before + own, pull_before + own @ turn - push
            turn = self.turn

    @property
    def turn(self) -> Floats:
        """(3 n,) the estimate, where nothing is known the prior's zero."""
        return np.linalg.solve(self.information, self.weighted)

    @property
    def learned(self) -> Floats:
        """(3 n, 3 n) the information without the prior."""
        return self.information - self._nothing

    @property
    def _nothing(self) -> Floats:
        return _prior(len(self.weighted) // 3)

    def seen_from(self, rotation: Floats) -> TurnEstimate:
        """One camera's turn in another frame, whose axes ``rotation`` (3, 3) takes it to."""
        return TurnEstimate(rotation @ self.information @ rotation.T, rotation @ self.weighted)

    def joined(self, other: TurnEstimate) -> TurnEstimate:
        """What two estimates of the same turn say together; the prior counts once."""
        return TurnEstimate(self.information + other.learned, self.weighted + other.weighted)

    def with_error(self, sigma_rad: float) -> TurnEstimate:
        """The same, known to no more than an error that all looks have in common allows."""
        strength, directions = np.linalg.eigh(self.learned)
        share = 1 / (1 + np.maximum(strength, 0.0) * sigma_rad**2)
        limited = (directions * share) @ directions.T
        return TurnEstimate(limited @ self.learned + self._nothing, limited @ self.weighted)

    def known_turn(self) -> tuple[Floats, int]:
        """One camera's turn without what is not known to ``MAX_SIGMA_RAD``, or is hardly more than
        its error; and in how many directions it is known."""
        inverse_variance, directions = np.linalg.eigh(self.information)
        sigma, part = inverse_variance**-0.5, directions.T @ self.turn
        known = (sigma < MAX_SIGMA_RAD) | (np.abs(part) > SURE * sigma)
        return directions[:, known] @ part[known], int(known.sum())


def together(
    single: Mapping[str, TurnEstimate], pairs: Mapping[tuple[str, str], TurnEstimate]
) -> dict[str, TurnEstimate]:
    """What is known of each camera if what is known of two at a time counts as well.

    Two cameras that do not fit each other do not say which of them is wrong. It is taken that few
    are: the turns are the likeliest where each has Cauchy's distribution (found by reweighting, as
    in Holland and Welsch 1977), and a camera is judged as if the others were turned as that says,
    the surer the less they are.

    Args:
        single: by name, in a frame common to all cameras.
        pairs: by the names of two of them, in that frame.
    """
    at = {name: np.arange(3 * k, 3 * k + 3) for k, name in enumerate(single)}
    information, weighted = np.zeros((3 * len(at), 3 * len(at))), np.zeros(3 * len(at))
    one_by_one = [((name,), each) for name, each in single.items()]
    for names, each in [*one_by_one, *pairs.items()]:
        rows = np.concatenate([at[name] for name in names])
        information[np.ix_(rows, rows)] += each.learned
        weighted[rows] += each.weighted
    sigma = np.full(len(at), PRIOR_RAD)
    for _ in range(ROUNDS):
        turns = np.linalg.solve(information + np.diag(np.repeat(sigma**-2, 3)), weighted)
        sigma = np.hypot(USUAL_RAD, np.linalg.norm(turns.reshape(-1, 3), axis=1))
    found = {}
    for k, (name, rows) in enumerate(at.items()):
        others = np.where(np.arange(len(at)) == k, PRIOR_RAD, sigma)
        covariance = np.linalg.inv(information + np.diag(np.repeat(others**-2, 3)))
        own = np.linalg.inv(covariance[np.ix_(rows, rows)])
        found[name] = TurnEstimate(own, own @ (covariance[rows] @ weighted))
    return found

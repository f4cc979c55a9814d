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
STEPS, FAR_OFF = 3, 10.0  # the second in standard deviations: of what does not count
MAX_SIGMA_RAD, SURE = np.deg2rad(0.65), 3.5
# Mountings are right to about this, but for those few that are wrong; Cauchy's distribution.
USUAL_RAD, ROUNDS = np.deg2rad(0.4), 15


def rotations(turns: Floats) -> Floats:
    """Rotation matrices (K, 3, 3) of rotation vectors (K, 3), radians."""
    return np.stack([cv2.Rodrigues(turn)[0] for turn in turns])


def _prior(cameras: int) -> Floats:
    return np.asarray(np.eye(3 * cameras) / PRIOR_RAD**2)


@dataclass(frozen=True, eq=False)
class Look:
    """What one look says of the turns, by itself.

    Attributes:
        information, weighted: as of ``TurnEstimate``, without a prior.
        off: (N,) errors that are left with the turns that fit it best.
    """

    information: Floats
    weighted: Floats
    off: Floats

    @staticmethod
    def at(
        errors: Errors, guess: Floats, difference_rad: float, sigma_rad: float, alike: float = 1.0
    ) -> Look:
        """By Gauss and Newton's method with Cauchy's weights, from the guess or from zero.

        A look is fitted by itself, so that a wrong estimate cannot make it weigh less.

        Args:
            errors: of the look, for turns that are tried.
            guess: (3 n,) turns that may be near.
            difference_rad: turn over which the errors' slope is taken, to both sides.
            sigma_rad: what all errors of the look have in common is so large: it says no more than
                that allows.
            alike: how many neighbouring errors are of one cause, and count as one.
        """
        steps = difference_rad * np.eye(len(guess))
        tries = np.concatenate([np.zeros((1, len(steps))), steps, -steps])
        starts = np.stack([np.zeros_like(guess), guess])
        off, counts = errors(starts)
        cost = np.log1p(np.where(counts, off, FAR_OFF) ** 2).sum(axis=1)
        turn = starts[int(cost.argmin())]
        for _ in range(STEPS):
            all_off, counts = errors(turn + tries)
            here, more, less = np.split(all_off, [1, 1 + len(steps)])
            slope = (more - less) / (2 * difference_rad)
            weight = np.where(counts[0], 1 / (alike * (1 + here[0] ** 2)), 0.0)
            own = (slope * weight) @ slope.T
            weighted = own @ turn - (slope * weight) @ here[0]
            turn = np.linalg.solve(own + _prior(len(guess) // 3), weighted)
        off, counts = errors(turn[None])
        strength, directions = np.linalg.eigh(own)
        share = np.minimum(1.0, sigma_rad**-2 / np.maximum(strength, 1e-9))
        limited = (directions * share) @ directions.T
        return Look(limited @ own, limited @ weighted, np.where(counts, off, FAR_OFF)[0])


@dataclass
class TurnEstimate:
    """Rotation vectors, radians, of one or more cameras as they are mounted.

    The mean of the looks, by what each of them knows, with a prior at zero; slowly forgotten.

    Attributes:
        information, weighted: inverse covariance (3 n, 3 n), and the same times the vectors.
    """

    information: Floats = field(default_factory=lambda: _prior(1))
    weighted: Floats = field(default_factory=lambda: np.zeros(3))

    @staticmethod
    def of_two() -> TurnEstimate:
        """Of two cameras, of which nothing is known."""
        return TurnEstimate(_prior(2), np.zeros(6))

    def add(self, look: Look) -> None:
        kept = FORGETTING * self.learned
        self.information = kept + look.information + self._nothing
        self.weighted = FORGETTING * self.weighted + look.weighted

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

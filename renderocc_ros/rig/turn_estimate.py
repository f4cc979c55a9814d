"""By how much a camera is turned against its mounting, from whatever depends on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Of a rotation vector: errors (N,) in standard deviations, and (N,) which of them count.
Errors = Callable[[Floats], tuple[Floats, NDArray[np.bool_]]]

PRIOR_RAD, FORGETTING = np.deg2rad(5.0), 0.97
STEPS = 3
MAX_SIGMA_RAD = np.deg2rad(0.65)


@dataclass
class TurnEstimate:
    """The rotation vector, radians, of the camera as it is mounted in the frame of its transform.

    A Gauss-Newton estimate with a prior at zero, robust by Cauchy's weights, that slowly forgets.

    Attributes:
        information, weighted: inverse covariance (3, 3), and the same times the rotation vector.
    """

    information: Floats = field(default_factory=lambda: np.eye(3) / PRIOR_RAD**2)
    weighted: Floats = field(default_factory=lambda: np.zeros(3))

    def add(
        self, errors: Errors, difference_rad: float, sigma_rad: float, alike: float = 1.0
    ) -> None:
        """What one look says.

        Args:
            errors: of the look, for a turn that is tried.
            difference_rad: turn over which their slope is taken, to both sides.
            sigma_rad: what all errors of a look have in common is so large: it says no more than
                that allows.
            alike: how many neighbouring errors are of one cause, and count as one.
        """
        prior = np.eye(3) * (1 - FORGETTING) / PRIOR_RAD**2
        before, pull_before = FORGETTING * self.information + prior, FORGETTING * self.weighted
        turn = self.turn
        for _ in range(STEPS):
            off, counts = errors(turn)
            steps = difference_rad * np.eye(3)
            slope = np.stack([errors(turn + step)[0] - errors(turn - step)[0] for step in steps])
            slope /= 2 * difference_rad
            weight = np.where(counts, 1 / (alike * (1 + off**2)), 0.0)
            own, push = (slope * weight) @ slope.T, (slope * weight) @ off
            strength, directions = np.linalg.eigh(own)
            share = np.minimum(1.0, sigma_rad**-2 / np.maximum(strength, 1e-9))
            limited = (directions * share) @ directions.T
            own, push = limited @ own, limited @ push
            self.information, self.weighted = before + own, pull_before + own @ turn - push
            turn = self.turn

    @property
    def turn(self) -> Floats:
        """(3,) the estimate, where nothing is known the prior's zero."""
        return np.linalg.solve(self.information, self.weighted)

    def joined(self, other: TurnEstimate) -> TurnEstimate:
        """What two estimates of the same turn say together; the prior counts once."""
        information = self.information + other.information - np.eye(3) / PRIOR_RAD**2
        return TurnEstimate(information, self.weighted + other.weighted)

    def known_turn(self) -> tuple[Floats, int]:
        """The estimate without what is not known to ``MAX_SIGMA_RAD``; and in how many directions
        it is known."""
        inverse_variance, directions = np.linalg.eigh(self.information)
        known = directions[:, inverse_variance > MAX_SIGMA_RAD**-2]
        return known @ (known.T @ self.turn), known.shape[1]

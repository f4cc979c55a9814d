"""Whether two cameras that see the same see it where their mountings say.

What both see lies in one epipolar plane with the two cameras; what does not tells how they are
turned against each other, without any depth, and while the robot drives straight ahead too. A turn
that moves things within these planes does not show, and which of the two cameras is wrong neither:
other neighbours and the robot's motion say that (``turn_estimate.together``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.rig.motion_check import DIFFERENCE_RAD, off_epipolar, squares
from renderocc_ros.rig.neighbour_matches import Matches, matches_of
from renderocc_ros.rig.turn_estimate import Errors, Floats, Look, TurnEstimate, rotations

PAIRS_AT_ONCE, FIRST_LOOKS = 2, 10  # so many pairs a set, until they are known; then one
MIN_MATCHES, MIN_LOOKS = 8, 4  # for a look; for a verdict
CAUSES = 3.0  # as many matches as a look is worth: time and lenses shift all alike
LOOK_SIGMA_RAD = np.deg2rad(0.5)
MAX_LEFT = 1.0
MIN_STEP_M = 0.5  # from one look at a pair to the next: the same pictures have the same errors


@dataclass
class PairState:
    """What is known of two cameras.

    Attributes:
        looks: at enough that both see.
        estimate: of both turns, in the ego frame.
        matches: for the next look.
        looked_at: where the last images were taken, in the odometry frame.
    """

    looks: int = 0
    estimate: TurnEstimate = field(default_factory=TurnEstimate.of_two)
    matches: Matches = field(default_factory=Matches.none)
    looked_at: Floats | None = None


class NeighbourCheck:
    """Looks at pairs of cameras in turn.

    Attributes:
        pairs: what is known, by the names of the two.
    """

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], PairState] = {}
        self._last = ("", "")

    def look(self, images: Mapping[str, PosedImage], odom_from_ego: RigidTransform) -> set[str]:
        """Take the images of the next set; returns the names of those of which more is known."""
        pairs = [(a, b) for a, b in combinations(images, 2) if may_share(images[a], images[b])]
        first = pairs.index(self._last) + 1 if self._last in pairs else 0
        pairs = [*pairs[first:], *pairs[:first]]
        is_known = bool(pairs) and self.pairs.get(pairs[0], PairState()).looks >= FIRST_LOOKS
        told: set[str] = set()
        for pair in pairs[: 1 if is_known else PAIRS_AT_ONCE]:
            self._last = pair
            state = self.pairs.setdefault(pair, PairState())
            if self._look(state, images[pair[0]], images[pair[1]], odom_from_ego.translation):
                told.update(pair)
        return told

    def _look(self, state: PairState, first: PosedImage, second: PosedImage, at: Floats) -> bool:
        """Whether it told something."""
        if state.looked_at is not None and np.linalg.norm(at - state.looked_at) < MIN_STEP_M:
            return False
        state.looked_at = at
        state.matches += matches_of(first, second)
        if len(state.matches) < MIN_MATCHES:
            return False
        look = Look.at(
            errors(state.matches),
            state.estimate.turn,
            DIFFERENCE_RAD,
            LOOK_SIGMA_RAD,
            len(state.matches) / CAUSES,
        )
        state.matches = Matches.none()
        if squares(look.off).mean() > MAX_LEFT:
            return False  # no turn explains them: they are of chance
        state.looks += 1
        state.estimate.add(look)
        return True

    def looks(self, name: str) -> int:
        """How often what a camera shares with a neighbour was looked at."""
        return sum(state.looks for pair, state in self.pairs.items() if name in pair)

    def is_known(self, name: str) -> bool:
        """Whether there were enough looks together with one neighbour."""
        return any(state.looks >= MIN_LOOKS for pair, state in self.pairs.items() if name in pair)


def may_share(first: PosedImage, second: PosedImage) -> bool:
    """Whether two cameras may see the same far away, by the angle between them and their width."""
    cosine = first.ego_from_camera.rotation[:, 2] @ second.ego_from_camera.rotation[:, 2]
    # Half the angle of view: of a fisheye this, of others less.
    widths = sum(each.model.width / (2 * each.model.intrinsics[0, 0]) for each in (first, second))
    return bool(np.arccos(np.clip(cosine, -1, 1)) < widths)


def errors(matches: Matches) -> Errors:
    """How far matches are off their epipolar planes, by both cameras' turns in the ego frame."""

    def of(turns: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        first, second = (rotations(each).transpose(0, 2, 1) for each in np.split(turns, 2, axis=1))
        off, _ = off_epipolar(matches.baseline, matches.first @ first, matches.second @ second)
        return off / matches.sigma_rad, np.ones(off.shape, np.bool_)

    return of

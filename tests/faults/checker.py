"""Whether a published grid is what the network makes of the images, poses and calibration sent."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

from renderocc_ros.config import load_class_set
from renderocc_ros.occupancy.messages import occupancy_of, stamp_ns_of
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.prediction import Predictor
from tests.node import robot as robots
from tests.node.expected import sent_set
from tests.node.live import NETWORK

# Confidences are rounded to 1/255: noise of floats moves one by a step. One camera that is 3 cm off
# moves 0.8 % of them by more, images of another cycle 60 %.
ROUNDING, MAX_DIFFERENT = 1, 0.002
MOST_CHOICES = 64


class Verdict(Enum):
    """Of one result."""

    RIGHT = "right"
    MIXED = "of images of two cycles"
    WRONG = "not the network's for what was sent"


class Checker:
    """Computes results anew in this process.

    Args:
        start_ns: when the robot started, which gives its true poses.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._predictor = Predictor.from_preset(NETWORK, threads=1)
        self._classes = load_class_set("occ3d")

    def verdict(self, message: Any, sent: Sequence[robots.SentSet]) -> Verdict:
        """Of one SemanticOccupancy.

        Args:
            sent: the cycles that it may be of.
        """
        stamps_ns = dict(
            zip(message.cameras_used, map(stamp_ns_of, message.camera_stamps), strict=True)
        )
        cycles = [
            {
                place
                for place, cycle in enumerate(sent)
                if name in cycle.images and stamp_ns_of(cycle.images[name].header.stamp) == stamp_ns
            }
            for name, stamp_ns in stamps_ns.items()
        ]
        if not all(cycles):
            return Verdict.WRONG
        common = set.intersection(*cycles)
        if not common:
            return Verdict.MIXED
        result = occupancy_of(message, self._classes)
        stamp_ns = stamp_ns_of(message.header.stamp)

        def is_of(places: Sequence[int]) -> bool:
            pairs = zip(stamps_ns, places, strict=True)
            images = {name: sent[place].images[name] for name, place in pairs}
            return _same(result, self.expected(stamp_ns, images))

        if any(is_of([place] * len(cycles)) for place in common):
            return Verdict.RIGHT
        # Where stamps repeat, the images may be of several cycles.
        choices = itertools.product(*cycles)
        mixed = any(is_of(places) for places in itertools.islice(choices, MOST_CHOICES))
        return Verdict.MIXED if mixed else Verdict.WRONG

    def expected(self, stamp_ns: int, images: Mapping[str, Any]) -> SemanticOccupancy:
        """What the network says of these image messages, with the robot's true poses."""
        reduction = self._predictor.preprocessor.reduction
        return self._predictor.predict(sent_set(stamp_ns, images, self._start_ns, reduction))


def _same(first: SemanticOccupancy, second: SemanticOccupancy) -> bool:
    off = np.abs(first.confidence.astype(int) - second.confidence) > ROUNDING
    assert first.in_view is not None and second.in_view is not None
    return bool(
        off.mean() < MAX_DIFFERENT and (first.in_view != second.in_view).mean() < MAX_DIFFERENT
    )

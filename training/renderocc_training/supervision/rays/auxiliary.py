"""Rays of other frames in the current ego frame, and what became of the objects they end on.

A static point stays; its ray needs nothing but the ego motion. A point on a tracked box goes with
the box: the ray is moved along, and since on its old way it says nothing about the new one, it
claims nothing before it enters the box. A ray that crosses a place where something else drives
now claims nothing up to there. Rays on what moves without a box are dropped.

World is a frame that does not move; *then* is when the ray's camera fired, *now* the stamp of the
sample's own frame.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.geometry.voxel_traversal import clip_to_box
from renderocc_training.sequences.model import BoxTrack, Frame, RecordedSequence
from renderocc_training.supervision.rays.ray_batch import STANDS, RayBatch

STANDING_M, STANDING_M_S = 0.3, 0.3  # less, and slower, is the annotator's hand
MARGIN_M = 0.2  # boxes are drawn tightly
CHUNK = 8192  # rays that are tried with all boxes at a time
BEFORE_END = 0.999  # of a ray's length: claims nothing but its end


@dataclass(frozen=True)
class BoxStates:
    """What became of the boxes of a sequence between two times, by their numbers.

    Attributes:
        standing: they did not move, or never do.
        moving: they moved, and it is known from where to where.
        appeared: they are known now, but not then.
    """

    standing: frozenset[int]
    moving: frozenset[int]
    appeared: frozenset[int]

    @property
    def known(self) -> frozenset[int]:
        """Boxes of which it is known where the rays belong that ended on them."""
        return self.standing | self.moving


def auxiliary_frames(
    sequence: RecordedSequence, number: int, offsets: Iterable[int]
) -> list[Frame]:
    """The frames at these offsets from frame ``number``, without those outside the sequence."""
    places = (number + offset for offset in offsets)
    return [sequence.frames[place] for place in places if 0 <= place < len(sequence)]


def box_states(tracks: Mapping[int, BoxTrack], then_ns: int, now_ns: int) -> BoxStates:
    """Which boxes stand, move and appear between two times."""
    standing: set[int] = set()
    moving: set[int] = set()
    appeared: set[int] = set()
    for number, track in tracks.items():
        then, now = track.at(then_ns), track.at(now_ns)
        if then is None or now is None:
            if track.travelled_m < STANDING_M and len(track.stamps_ns) > 1:
                standing.add(number)
            elif now is not None:
                appeared.add(number)
            continue
        moved_m = float(np.linalg.norm(now.translation - then.translation))
        seconds = abs(now_ns - then_ns) * 1e-9
        stands = moved_m < min(STANDING_M + STANDING_M_S * seconds, 2 * STANDING_M)
        (standing if stands else moving).add(number)
    return BoxStates(frozenset(standing), frozenset(moving), frozenset(appeared))


def always_stands(track: BoxTrack) -> bool:
    """Whether a box is among the standing ones between any two times."""
    return len(track.stamps_ns) > 1 and 2 * track.travelled_m < STANDING_M


def follows_box(instance: NDArray[np.int32], states: BoxStates) -> NDArray[np.bool_]:
    """(R,) whether it is known where the thing is now that a ray ended on."""
    return np.isin(instance, [STANDS, *states.known])


def moved_along(
    rays: RayBatch,
    states: BoxStates,
    tracks: Mapping[int, BoxTrack],
    ego_from_world: RigidTransform,
    then_ns: int,
    now_ns: int,
) -> RayBatch:
    """Rays in the current ego frame; those that end on a box that moved are taken along with it.

    ``start_m`` of such a ray is where it enters the box.
    """
    origin, direction, start_m = rays.origin.copy(), rays.direction.copy(), rays.start_m.copy()
    for number in np.unique(rays.instance[rays.instance >= 0]).tolist():
        if number not in states.moving:
            continue
        track = tracks[number]
        then, now = track.at(then_ns), track.at(now_ns)
        if then is None or now is None:
            continue
        chosen = np.flatnonzero(rays.instance == number)
        ego_from_box = ego_from_world @ now
        now_from_then = ego_from_box @ then.inverse() @ ego_from_world.inverse()
        origin[chosen] = now_from_then.apply(rays.origin[chosen])
        direction[chosen] = rays.direction[chosen] @ now_from_then.rotation.T.astype(np.float32)
        enter, leave = _through_boxes(origin[chosen], direction[chosen], [ego_from_box], [track])
        end = rays.range_m[chosen] * BEFORE_END
        # A label just outside its box belongs to it too: then nothing before its end is claimed.
        start_m[chosen] = np.where(enter[0] < leave[0], np.minimum(enter[0], end), end)
    return replace(rays, origin=origin, direction=direction, start_m=start_m)


def silent_through_boxes(
    rays: RayBatch,
    numbers: Collection[int],
    tracks: Mapping[int, BoxTrack],
    ego_from_world: RigidTransform,
    now_ns: int,
) -> RayBatch:
    """Rays that claim nothing up to where they leave these boxes, but for those that end on them.

    What moved into the way of an auxiliary ray is there now, though the ray passed.
    """
    poses = {number: tracks[number].at(now_ns) for number in numbers}
    boxed = [(number, pose) for number, pose in poses.items() if pose is not None]
    if not boxed or not len(rays):
        return rays
    boxes = [ego_from_world @ pose for _, pose in boxed]
    of_box = np.array([number for number, _ in boxed])[:, None]
    until = np.zeros(len(rays), dtype=np.float32)
    for first in range(0, len(rays), CHUNK):
        some = slice(first, first + CHUNK)
        enter, leave = _through_boxes(
            rays.origin[some],
            rays.direction[some],
            boxes,
            [tracks[number] for number, _ in boxed],
        )
        range_m = rays.range_m[some]
        crossed = (enter < leave) & (enter < range_m) & (rays.instance[some] != of_box)
        until[some] = np.where(crossed, np.minimum(leave, range_m * BEFORE_END), 0.0).max(axis=0)
    return replace(rays, start_m=np.maximum(rays.start_m, until))


def _through_boxes(
    origin: NDArray[np.float32],
    direction: NDArray[np.float32],
    ego_from_box: Collection[RigidTransform],
    tracks: Collection[BoxTrack],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (M, R) at which R rays enter and leave M boxes, a margin around them included."""
    half = np.array([track.size_m for track in tracks])[:, None] / 2 + MARGIN_M
    turn = np.stack([pose.rotation for pose in ego_from_box])
    centre = np.stack([pose.translation for pose in ego_from_box])[:, None]
    # In units of the half edges each box is the same cube, and distances along rays stay.
    from_centre = ((origin.astype(np.float64) - centre) @ turn) / half
    along = (direction.astype(np.float64) @ turn) / half
    enter, leave = clip_to_box(
        from_centre.reshape(-1, 3), along.reshape(-1, 3), (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)
    )
    return enter.reshape(len(turn), -1), leave.reshape(len(turn), -1)

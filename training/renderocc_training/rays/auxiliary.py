"""Rays of other frames in the current ego frame, and what became of the objects they end on.

A static point stays; its ray needs nothing but the ego motion. A point on a tracked box goes with
the box: the ray is moved along, and since on its old way it says nothing about the new one, it
claims nothing before it enters the box. A ray that crosses a place where something else drives
now claims nothing up to there. Rays on what moves without a box are dropped.

World is a frame that does not move; *then* is when the ray's camera fired, *now* the stamp of the
sample's own frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.geometry.voxel_traversal import clip_to_box
from renderocc_training.dataset.frames import BoxTrack, Drive, Frame
from renderocc_training.rays.ray_batch import RayBatch

STANDING_M_S = 0.3  # slower is the annotator's hand
STANDING_M = 0.3
MARGIN_M = 0.2  # boxes are drawn tightly


@dataclass(frozen=True, eq=False)
class BoxMotion:
    """Where a box went.

    Attributes:
        now_from_then: in the world: takes a point on the box then to where it is now.
        stands: it did not move.
    """

    now_from_then: RigidTransform
    stands: bool


def auxiliary_frames(drive: Drive, number: int, offsets: Iterable[int]) -> list[Frame]:
    """The frames at these offsets from frame ``number``; those outside the drive are left out."""
    places = (number + offset for offset in offsets)
    return [drive.frames[place] for place in places if 0 <= place < len(drive)]


def box_motions(
    tracks: Mapping[int, BoxTrack], instances: NDArray[np.int32], then_ns: int, now_ns: int
) -> dict[int, BoxMotion]:
    """Motions of those of the boxes that are known at both times."""
    found = {}
    for number in np.unique(instances[instances >= 0]).tolist():
        then, now = tracks[number].at(then_ns), tracks[number].at(now_ns)
        if then is not None and now is not None:
            moved = float(np.linalg.norm(now.translation - then.translation))
            seconds = abs(now_ns - then_ns) * 1e-9
            stands = moved < STANDING_M + STANDING_M_S * seconds and moved < 2 * STANDING_M
            found[number] = BoxMotion(now @ then.inverse(), stands)
    return found


def follows_box(instance: NDArray[np.int32], motions: Mapping[int, BoxMotion]) -> NDArray[np.bool_]:
    """(R,) whether it is known where the box went that a ray ends on."""
    return np.isin(instance, list(motions))


def moved_along(
    rays: RayBatch,
    motions: Mapping[int, BoxMotion],
    tracks: Mapping[int, BoxTrack],
    ego_from_world: RigidTransform,
    now_ns: int,
) -> RayBatch:
    """Rays in the current ego frame, those that end on a box that moved taken along with it.

    ``start_m`` of such a ray is where it enters the box.
    """
    origin, direction, start_m = rays.origin.copy(), rays.direction.copy(), rays.start_m.copy()
    for number, motion in motions.items():
        chosen = np.flatnonzero(rays.instance == number)
        if motion.stands or not chosen.size:
            continue
        in_ego = ego_from_world @ motion.now_from_then @ ego_from_world.inverse()
        origin[chosen] = in_ego.apply(rays.origin[chosen])
        direction[chosen] = rays.direction[chosen] @ in_ego.rotation.T.astype(np.float32)
        box = tracks[number].at(now_ns)
        assert box is not None  # its motion is known
        enter, leave = _through_box(
            origin[chosen], direction[chosen], ego_from_world @ box, tracks[number].size_m
        )
        end = rays.range_m[chosen]
        # A label just outside its box still belongs to it: then nothing before its end is claimed.
        start_m[chosen] = np.where(enter < leave, np.minimum(enter, end), end) * 0.999
    return replace(rays, origin=origin, direction=direction, start_m=start_m)


def silent_through_boxes(
    rays: RayBatch,
    tracks: Mapping[int, BoxTrack],
    then_ns: int,
    now_ns: int,
    ego_from_world: RigidTransform,
) -> RayBatch:
    """Rays that claim nothing up to where they leave boxes that were elsewhere then.

    What moved into the way of an auxiliary ray is there now, though the ray passed.
    """
    start_m = rays.start_m.copy()
    known = {
        number: box_motions(tracks, np.array([number], np.int32), then_ns, now_ns).get(number)
        for number in tracks
    }
    for number, track in tracks.items():
        box, motion = track.at(now_ns), known[number]
        if box is None or (motion is not None and motion.stands):
            continue
        enter, leave = _through_box(rays.origin, rays.direction, ego_from_world @ box, track.size_m)
        crossed = (enter < leave) & (enter < rays.range_m) & (rays.instance != number)
        crossed &= rays.is_auxiliary
        start_m[crossed] = np.maximum(
            start_m[crossed], np.minimum(leave[crossed], rays.range_m[crossed] * 0.999)
        )
    return replace(rays, start_m=start_m)


def _through_box(
    origin: NDArray[np.float32],
    direction: NDArray[np.float32],
    ego_from_box: RigidTransform,
    size_m: tuple[float, float, float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances (R,) at which rays enter and leave a box, a margin around it included."""
    box_from_ego, half = ego_from_box.inverse(), np.array(size_m) / 2 + MARGIN_M
    turned = direction.astype(np.float64) @ box_from_ego.rotation.T
    return clip_to_box(box_from_ego.apply(origin), turned, -half, half)

"""A sequence as training sees it: key frames with cameras, LiDAR sweeps and tracked boxes.

``world`` is a frame that does not move during the sequence. Each sensor has the ego pose of its own
stamp; a frame has one more, that of its reference stamp, and all labels of a sample go there.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.geometry.rigid_transform import interpolate

SweepFormat = Literal["nuscenes", "kitti", "dgp"]
LONGEST_GAP_NS = 1_500_000_000  # between two annotations of a box that are interpolated
NEAREST_NS = 100_000_000  # before its first and after its last annotation a box stands


@dataclass(frozen=True, eq=False)
class CameraImage:
    """One image.

    Attributes:
        name: of the camera.
        stamp_ns: acquisition time.
        image: the file.
        model: projection of that image.
        world_from_camera: pose of the optical frame at ``stamp_ns``.
    """

    name: str
    stamp_ns: int
    image: Path
    model: CameraModel
    world_from_camera: RigidTransform


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """One sweep of a LiDAR.

    Attributes:
        stamp_ns: the time that its points refer to.
        file: the points; their layout is ``format``.
        format: see ``renderocc_training.sequences.lidar_files``.
        ego_from_lidar: mount.
        world_from_ego: at ``stamp_ns``.
        labels: a class for every point, if there is such a file.
    """

    stamp_ns: int
    file: Path
    format: SweepFormat
    ego_from_lidar: RigidTransform
    world_from_ego: RigidTransform
    labels: Path | None = None


@dataclass(frozen=True, eq=False)
class BoxTrack:
    """One annotated object through a sequence.

    Attributes:
        category: as the data set calls it.
        size_m: length, width, height along the box's x, y, z.
        stamps_ns: of its annotations, ascending.
        world_from_box: its centre at each of them; x points forward.
    """

    category: str
    size_m: tuple[float, float, float]
    stamps_ns: tuple[int, ...]
    world_from_box: tuple[RigidTransform, ...]

    def at(self, stamp_ns: int) -> RigidTransform | None:
        """``world_from_box``, interpolated between annotations; None where it is not known."""
        stamps = self.stamps_ns
        after = bisect_left(stamps, stamp_ns)
        if after < len(stamps) and stamps[after] == stamp_ns:
            return self.world_from_box[after]
        if 0 < after < len(stamps):
            start, end = stamps[after - 1], stamps[after]
            if end - start > LONGEST_GAP_NS:
                return None
            fraction = (stamp_ns - start) / (end - start)
            return interpolate(self.world_from_box[after - 1], self.world_from_box[after], fraction)
        nearest = min(after, len(stamps) - 1)
        return self.world_from_box[nearest] if self._near(nearest, stamp_ns) else None

    @cached_property
    def travelled_m(self) -> float:
        """How far from its first place it ever was."""
        places = np.array([pose.translation for pose in self.world_from_box])
        return float(np.linalg.norm(places - places[0], axis=1).max())

    def _near(self, index: int, stamp_ns: int) -> bool:
        return abs(self.stamps_ns[index] - stamp_ns) <= NEAREST_NS


@dataclass(frozen=True, eq=False)
class Frame:
    """One key frame.

    Attributes:
        token: unique in the data set.
        number: place in its sequence.
        stamp_ns: reference time.
        world_from_ego: ego pose at that time.
        cameras: in the rig's order; None where one is missing.
        lidar: the key frame's own LiDAR sweep, if there is one.
        sweeps: other sweeps around it, in the order of time.
    """

    token: str
    number: int
    stamp_ns: int
    world_from_ego: RigidTransform
    cameras: tuple[CameraImage | None, ...]
    lidar: LidarSweep | None = None
    sweeps: tuple[LidarSweep, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Changes with stamps, poses, calibration and file names; not with the files' content."""
        digest = hashlib.sha256(f"{self.token} {self.stamp_ns}".encode())
        digest.update(self.world_from_ego.matrix.tobytes())
        for camera in filter(None, self.cameras):
            digest.update(f"{camera.name} {camera.stamp_ns} {camera.image.name}".encode())
            digest.update(camera.world_from_camera.matrix.tobytes())
            digest.update(f"{camera.model}".encode())
        for sweep in filter(None, (self.lidar, *self.sweeps)):
            labels = sweep.labels.name if sweep.labels else ""
            digest.update(f"{sweep.stamp_ns} {sweep.file.name} {labels}".encode())
            digest.update((sweep.world_from_ego @ sweep.ego_from_lidar).matrix.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class RecordedSequence:
    """Key frames in the order of time, without a gap that matters.

    Attributes:
        name: of the sequence, unique in the data set.
        root: folder of the data set.
        camera_names: the rig's order.
        frames: key frames.
        tracks: annotated objects by their number; empty if there are none.
        road_mask: picture of the drivable surface, as nuScenes has it; None if there is none.
    """

    name: str
    root: Path
    camera_names: tuple[str, ...]
    frames: tuple[Frame, ...]
    tracks: Mapping[int, BoxTrack] = field(default_factory=dict)
    road_mask: Path | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, first: int, last: int) -> RecordedSequence:
        """Frames ``first`` up to, not including, ``last`` as a sequence that knows no others."""
        frames = self.frames[first:last]
        if not frames:
            raise ValueError(
                f"sequence '{self.name}' has {len(self)} frames, none in {first}:{last}"
            )
        renumbered = tuple(replace(frame, number=i) for i, frame in enumerate(frames))
        return replace(self, name=f"{self.name}[{first}:{first + len(frames)}]", frames=renumbered)

    def near(self, number: int, reach: int) -> tuple[Frame, ...]:
        """Frame ``number`` and up to ``reach`` others on either side."""
        return self.frames[max(number - reach, 0) : number + reach + 1]

    @cached_property
    def tracks_fingerprint(self) -> str:
        """Changes with any box."""
        digest = hashlib.sha256()
        for number, track in self.tracks.items():
            digest.update(f"{number} {track.category} {track.size_m} {track.stamps_ns}".encode())
            for pose in track.world_from_box:
                digest.update(pose.matrix.tobytes())
        return digest.hexdigest()


def inside_box(
    points: NDArray[np.float64],
    box_from_points: RigidTransform,
    size_m: tuple[float, float, float],
    margin_m: float = 0.0,
) -> NDArray[np.bool_]:
    """(P,) whether points (P, 3) lie in a box grown by a margin on every side."""
    half = np.array(size_m) / 2 + margin_m
    # The sphere around the box first: the exact test is dear for all points of all boxes.
    centre = box_from_points.inverse().translation
    near = np.flatnonzero(((points - centre) ** 2).sum(axis=1) <= (half**2).sum() + 1e-6)
    inside = np.zeros(len(points), dtype=bool)
    inside[near] = (np.abs(box_from_points.apply(points[near])) <= half).all(axis=1)
    return inside

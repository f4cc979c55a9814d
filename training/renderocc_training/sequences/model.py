"""A recorded sequence: key frames with images, LiDAR sweeps and boxes, and what lies between them.

``world`` is a frame that does not move during the sequence. Each sensor has the ego pose of its own
stamp; a frame has one more, that of its reference stamp, and all labels of a sample go there.
Files are named here and read where their content is needed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.files import file_name
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.geometry.rigid_transform import interpolate
from renderocc_training.recording.boxes import Box

SweepFormat = Literal["nuscenes", "kitti", "dgp"]
LABEL_FOLDER = "labels"  # in a data set: label images, and point labels that ``extract`` wrote
MAX_GAP_NS = 1_500_000_000  # between two annotations of a box that are interpolated
HELD_NS = 100_000_000  # before its first and after its last annotation a box stands


@dataclass(frozen=True, eq=False)
class SensorFile:
    """What one sensor measured at one time.

    Attributes:
        name: of the sensor.
        stamp_ns: acquisition time.
        file: the measurement.
        ego_from_sensor: mount.
        world_from_ego: at ``stamp_ns``.
    """

    name: str
    stamp_ns: int
    file: Path
    ego_from_sensor: RigidTransform
    world_from_ego: RigidTransform

    def __post_init__(self) -> None:
        file_name(self.name, "sensor")

    @property
    def label_name(self) -> str:
        """What files of labels for it are called: its file's name without suffixes."""
        return self.file.with_suffix("").name.removesuffix(".pcd")

    @cached_property
    def world_from_sensor(self) -> RigidTransform:
        """Where the sensor was; of a camera, its optical frame."""
        return self.world_from_ego @ self.ego_from_sensor


@dataclass(frozen=True, eq=False)
class CameraImage(SensorFile):
    """One image.

    Attributes:
        model: projection of that image.
    """

    model: CameraModel


@dataclass(frozen=True, eq=False)
class LidarSweep(SensorFile):
    """One sweep of a LiDAR.

    Attributes:
        format: of the file; see ``renderocc_training.sequences.sensor_files``.
        labels: a file with a class for every point, if there is one.
    """

    format: SweepFormat
    labels: Path | None = None


@dataclass(frozen=True, eq=False)
class BoxTrack:
    """One annotated object through a sequence.

    Attributes:
        category: as the data set calls it.
        size_m: length, width, height along the box's x, y, z; the largest of its annotations.
        stamps_ns: of its annotations, ascending.
        world_from_box: its centre at each of them; x points forward.
        instance: what all its boxes have in common.
    """

    category: str
    size_m: tuple[float, float, float]
    stamps_ns: tuple[int, ...]
    world_from_box: tuple[RigidTransform, ...]
    instance: str = ""

    def at(self, stamp_ns: int) -> RigidTransform | None:
        """``world_from_box``, interpolated between annotations; None where it is not known."""
        stamps = self.stamps_ns
        after = bisect_left(stamps, stamp_ns)
        if after < len(stamps) and stamps[after] == stamp_ns:
            return self.world_from_box[after]
        if 0 < after < len(stamps):
            start, end = stamps[after - 1], stamps[after]
            if end - start > MAX_GAP_NS:
                return None
            fraction = (stamp_ns - start) / (end - start)
            return interpolate(self.world_from_box[after - 1], self.world_from_box[after], fraction)
        nearest = min(after, len(stamps) - 1)
        return self.world_from_box[nearest] if self._near(nearest, stamp_ns) else None

    def velocity_m_s(self, stamp_ns: int) -> NDArray[np.float64]:
        """(3,) in the world, at the stamp of an annotation, from those beside it.

        NaN where they are missing or more than 1.5 s away, as in nuScenes.
        """
        here = self.stamps_ns.index(stamp_ns)
        first, last = max(here - 1, 0), min(here + 1, len(self.stamps_ns) - 1)
        gap_ns = self.stamps_ns[last] - self.stamps_ns[first]
        if not 0 < gap_ns <= (last - first) * MAX_GAP_NS:
            return np.full(3, np.nan)
        way = self.world_from_box[last].translation - self.world_from_box[first].translation
        return np.asarray(way / (gap_ns * 1e-9))

    @cached_property
    def travelled_m(self) -> float:
        """How far from its first place it ever was."""
        places = np.array([pose.translation for pose in self.world_from_box])
        return float(np.linalg.norm(places - places[0], axis=1).max())

    def _near(self, index: int, stamp_ns: int) -> bool:
        return abs(self.stamps_ns[index] - stamp_ns) <= HELD_NS


@dataclass(frozen=True, eq=False)
class Frame:
    """One key frame.

    Attributes:
        token: unique in the data set.
        number: place in its sequence.
        stamp_ns: reference time.
        world_from_ego: ego pose at that time.
        cameras: in the rig's order; None where one is missing.
        lidars: a sweep of each LiDAR; labels and truth are made from the first.
        between: measurements since the last key frame, in the order of time.
        boxes: annotated at this frame, in the world.
    """

    token: str
    number: int
    stamp_ns: int
    world_from_ego: RigidTransform
    cameras: tuple[CameraImage | None, ...]
    lidars: tuple[LidarSweep, ...] = ()
    between: tuple[SensorFile, ...] = ()
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        file_name(self.token, "token")

    @property
    def lidar(self) -> LidarSweep | None:
        """The key frame's own LiDAR sweep, if there is one."""
        return self.lidars[0] if self.lidars else None

    @cached_property
    def sweeps(self) -> tuple[LidarSweep, ...]:
        """Other sweeps of that LiDAR since the last key frame, as far as their files are there."""
        return tuple(
            each
            for each in self.between
            if isinstance(each, LidarSweep)
            and self.lidar is not None
            and each.name == self.lidar.name
            and each.file.is_file()
        )

    @property
    def measurements(self) -> list[SensorFile]:
        """Images and sweeps of the key frame itself, in the order of time."""
        measured = [*filter(None, self.cameras), *self.lidars]
        return sorted(measured, key=lambda each: (each.stamp_ns, each.name))

    @cached_property
    def fingerprint(self) -> str:
        """Changes with stamps, poses, calibration, names and sizes of files; not with folders."""
        digest = hashlib.sha256(f"{self.token} {self.stamp_ns}".encode())
        digest.update(self.world_from_ego.matrix.tobytes())
        for camera in filter(None, self.cameras):
            digest.update(f"{camera.name} {camera.stamp_ns} {_state(camera.file)}".encode())
            digest.update(camera.world_from_sensor.matrix.tobytes())
            digest.update(f"{camera.model}".encode())
        for sweep in filter(None, (self.lidar, *self.sweeps)):
            labels = sweep.labels.name if sweep.labels else ""
            digest.update(f"{sweep.stamp_ns} {_state(sweep.file)} {labels}".encode())
            digest.update(sweep.world_from_sensor.matrix.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Origin:
    """Where, when and with what a sequence was recorded, as far as its data set says.

    Attributes:
        ego_radius_m: LiDAR returns nearer to the sensor, seen from above, are off the robot itself;
            None: it is a car.
    """

    description: str = ""
    log: str = ""
    vehicle: str = ""
    date: str = ""
    location: str = "unknown"
    ego_radius_m: float | None = None


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
        has_key_frames: whether the data set chose its key frames; else every frame is one.
        after: measurements after the last key frame, in the order of time.
        origin: where, when and with what it was recorded.
        problems: what it lacks, in sentences.
    """

    name: str
    root: Path
    camera_names: tuple[str, ...]
    frames: tuple[Frame, ...]
    tracks: Mapping[int, BoxTrack] = field(default_factory=dict)
    road_mask: Path | None = None
    has_key_frames: bool = False
    after: tuple[SensorFile, ...] = ()
    origin: Origin = Origin()
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        file_name(self.name, "sequence")

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

    def measurements(self, key_frames_only: bool = False) -> list[SensorFile]:
        """All of its images and sweeps in the order of time."""
        measured = [each for frame in self.frames for each in frame.measurements]
        if not key_frames_only:
            measured += [each for frame in self.frames for each in frame.between]
            measured += self.after
        return sorted(measured, key=lambda each: (each.stamp_ns, each.name))

    def near(self, number: int, reach: int) -> tuple[Frame, ...]:
        """Frame ``number`` and up to ``reach`` others on either side."""
        return self.frames[max(number - reach, 0) : number + reach + 1]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any of its key frames; not with folders."""
        frames = " ".join(frame.fingerprint for frame in self.frames)
        return hashlib.sha256(frames.encode()).hexdigest()

    @cached_property
    def tracks_fingerprint(self) -> str:
        """Changes with any box."""
        digest = hashlib.sha256()
        for number, track in self.tracks.items():
            digest.update(f"{number} {track.category} {track.size_m} {track.stamps_ns}".encode())
            for pose in track.world_from_box:
                digest.update(pose.matrix.tobytes())
        return digest.hexdigest()


def tracks_of(frames: Iterable[Frame]) -> dict[int, BoxTrack]:
    """The boxes of each instance as one track; tracks are numbered as they appear."""
    boxes_of: dict[str, list[tuple[int, Box]]] = {}
    for frame in frames:
        for box in frame.boxes:
            boxes_of.setdefault(box.instance, []).append((frame.stamp_ns, box))
    return dict(enumerate(_track(instance, seen) for instance, seen in boxes_of.items()))


def _track(instance: str, seen: list[tuple[int, Box]]) -> BoxTrack:
    length, width, height = np.max([box.size_m for _, box in seen], axis=0).tolist()
    return BoxTrack(
        seen[0][1].category,
        (length, width, height),
        tuple(stamp_ns for stamp_ns, _ in seen),
        tuple(box.map_from_box for _, box in seen),
        instance,
    )


def label_file(root: Path, kind: str, measured: SensorFile, suffix: str) -> Path:
    """Where labels for a measurement lie: in a file of the same name, or of its stamp if there is
    only that.

    Args:
        root: folder of the data set.
        kind: depth, classes, or points.
    """
    folder = root / LABEL_FOLDER / kind / measured.name
    named = folder / f"{measured.label_name}{suffix}"
    stamped = folder / f"{measured.stamp_ns // 1000}{suffix}"
    return stamped if stamped.is_file() and not named.is_file() else named


def _state(file: Path) -> str:
    try:
        return f"{file.name} {file.stat().st_size}"
    except OSError:
        return f"{file.name} missing"


def unique_names(names: Iterable[str]) -> list[str]:
    """The names, those that came before with "-2", "-3" … behind."""
    unique: list[str] = []
    for name in names:
        candidates = (name, *(f"{name}-{number}" for number in range(2, len(unique) + 2)))
        unique.append(next(each for each in candidates if each not in unique))
    return unique


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

"""What the live self-check of the cameras says of faults, and of cameras without any.

    ./run bench self_check --bag towns/t957 --bag towns/t958 --table docs/RESULTS.md

Recordings are replayed through the check as the node does it, cameras and pairs of neighbours in
turn, each time with a fault in two cameras, or with the cameras of three pairs swapped; with
``--alone`` each camera is by itself (of a swapped pair, both), without neighbours, and looked at
with every set. A fault counts as named if the right words are said of the right camera at the end.
One JSON object a line for each row; with ``--table`` the table of that page between its marks is
made anew.

With ``--lidar-topic`` the check has the recording's LiDAR and a network's depth as well, each from
the image and the mounting that are wrong; then it is the faults of mountings that are tried:

    ./run bench self_check --bag towns/t957 --lidar-topic /lidar_top/points --table docs/RESULTS.md
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from scipy.stats import binomtest

from renderocc_ros.config import load_rig
from renderocc_ros.files import between_marks, write_bytes
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network_config import ImageConfig, load_network_config
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.cloud_reading import finite_points, points_of
from renderocc_ros.rig.range_check import RangeSources, SeenDepth
from renderocc_ros.rig.self_check import CameraHealth, SelfCheck
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.stamped_topic import StampedTopic
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.message_content import stamp_ns

TURNED, SWAPPED, FROZEN, STILL = (
    "it looks turned",
    "its images move",
    "the same picture",
    "% of its",
)
AXES = {"x, its way of travel": 0, "y, sideways": 1, "z, upwards": 2}
LIDAR_NS = 60_000_000
MUD_SHARE, MUD_OPACITY, MUD_RGB = 0.3, 0.93, (60, 50, 40)
STILL_PERCENT = NodeParameters().self_check_still_percent

Names = tuple[str, ...]
Change = Callable[[PosedImage, CameraSet], PosedImage]


def faults(names: Names, alone: bool) -> Iterator[tuple[str, str, Mapping[str, Change]]]:
    """Row of the table, words that name the fault, and what happens to which cameras."""
    half = max(1, len(names) // 2)
    pairs_of_a_rig = [names[number::half][:2] for number in range(half)]
    struck = [(name,) for name in names] if alone else pairs_of_a_rig
    for degrees in (1, 2, 3):
        for axis, number in AXES.items():
            for k, pair in enumerate(struck):
                turn = partial(_turned, axis=number, degrees=degrees * (-1) ** k)
                row = f"mounting turned by {degrees}° about the robot's {axis}"
                yield row, TURNED, dict.fromkeys(pair, turn)
    rounds = _rounds(names)
    for pairs in ([pair] for each in rounds for pair in each) if alone else rounds:
        others = dict(pairs) | {b: a for a, b in pairs}
        changes = {name: partial(_image_of, other=other) for name, other in others.items()}
        yield "two cameras swapped", SWAPPED, changes
    for pair in struck:
        yield "frozen image", FROZEN, dict.fromkeys(pair, _Frozen())
        yield f"mud on {100 * MUD_SHARE:.0f} % of the image", STILL, dict.fromkeys(pair, _muddy)


def _rounds(names: Names) -> Iterator[list[tuple[str, str]]]:
    """Every pair once, in rounds of pairs without a camera in common (the circle method)."""
    first, *rest = names if len(names) % 2 == 0 else (*names, "")
    for turn in range(len(rest)):
        ring = [first, *rest[turn:], *rest[:turn]]
        pairs = zip(ring, reversed(ring), strict=True)
        yield [(a, b) for a, b in list(pairs)[: len(ring) // 2] if a and b]


def _turned(image: PosedImage, cameras: CameraSet, axis: int, degrees: float) -> PosedImage:
    """Said to be mounted otherwise than it is, about an axis of the robot."""
    pose = image.ego_from_camera
    turn = cv2.Rodrigues(np.deg2rad(degrees) * np.eye(3)[axis])[0]
    said = RigidTransform(turn @ pose.rotation, pose.translation)
    return replace(image, ego_from_camera=said)


def _image_of(image: PosedImage, cameras: CameraSet, other: str) -> PosedImage:
    """Another camera's picture, under this one's name, stamp, calibration and transform."""
    source = cameras.images[cameras.names.index(other)] or image
    size = image.model.width, image.model.height
    same = source.pixels.shape == image.pixels.shape
    return replace(image, pixels=source.pixels if same else cv2.resize(source.pixels, size))


class _Frozen:
    """The first picture of each camera, again and again."""

    def __init__(self) -> None:
        self._first: dict[str, NDArray[np.uint8]] = {}

    def __call__(self, image: PosedImage, cameras: CameraSet) -> PosedImage:
        return replace(image, pixels=self._first.setdefault(image.name, image.pixels))


def _muddy(image: PosedImage, cameras: CameraSet) -> PosedImage:
    """Brown patches with soft edges that let a little light through; noise of the sensor."""
    height, width = image.pixels.shape[:2]
    random = np.random.default_rng(list(image.name.encode()))
    coarse = random.normal(size=(4, 8)).astype(np.float32)
    relief = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    edge = np.quantile(relief, 1 - MUD_SHARE)
    mud = MUD_OPACITY * np.clip((relief - edge) / 0.15 + 0.5, 0, 1)[..., None]
    noise = np.random.default_rng(image.stamp_ns).normal(0, 1.5, image.pixels.shape)
    pixels = (1 - mud) * image.pixels + mud * np.array(MUD_RGB) + noise
    return replace(image, pixels=np.clip(pixels, 0, 255).astype(np.uint8))


class Depths:
    """What a network sees in single images; each is asked once."""

    def __init__(self, name: str) -> None:
        self._predictor = Predictor.from_name(name, threads=1)
        # With the pixels, so that no others get their id.
        self._known: dict[tuple[Any, ...], tuple[Any, SeenDepth]] = {}

    def of(self, image: PosedImage) -> SeenDepth:
        key = image.name, id(image.pixels), image.ego_from_camera.matrix.tobytes()
        if key not in self._known:
            seen = self._predictor.see(image)
            assert seen is not None
            self._known[key] = image.pixels, seen
        return self._known[key][1]


class _Seen(Mapping[str, SeenDepth]):
    """What a network sees in a set; it looks at an image where it is asked for."""

    def __init__(self, depths: Depths, images: Mapping[str, PosedImage]) -> None:
        self._depths, self._images = depths, images

    def __contains__(self, name: object) -> bool:
        return name in self._images

    def __getitem__(self, name: str) -> SeenDepth:
        return self._depths.of(self._images[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)


class Drive:
    """A recording: its sets, and the points of its LiDAR in the odometry frame."""

    def __init__(self, bag: Path, rig: str, image: ImageConfig, lidar_topic: str) -> None:
        recorded = RecordedSets(bag, load_rig(rig), image)
        self.sets: list[CameraSet] = []
        self._points: dict[int, NDArray[np.float64]] = {}
        with BagReader(bag) as reader:
            lidar = StampedTopic(reader, lidar_topic) if lidar_topic else None
            for cameras in recorded:
                self.sets.append(cameras)
                cloud = lidar.nearest(cameras.stamp_ns, LIDAR_NS) if lidar else None
                if cloud is not None and cameras.odom_from_ego is not None:
                    read, at_ns = finite_points(points_of(cloud)), stamp_ns(cloud)
                    ego_from_lidar = recorded.ego_from_sensor(
                        cameras.stamp_ns, cloud.header.frame_id, at_ns
                    )
                    points = np.stack([read[axis] for axis in "xyz"], axis=1)
                    self._points[at_ns] = (cameras.odom_from_ego @ ego_from_lidar).apply(points)

    def points_near(self, stamp_ns: int) -> NDArray[np.float64] | None:
        """See ``RangeSources``."""
        nearest = min(self._points, key=lambda each: abs(each - stamp_ns), default=None)
        near = nearest is not None and abs(nearest - stamp_ns) < LIDAR_NS
        return self._points[nearest] if nearest is not None and near else None


def checked(
    drive: Drive, changes: Mapping[str, Change], names: Names, depths: Depths | None
) -> Mapping[str, CameraHealth]:
    """What the check says of these cameras after the drive; the others are missing."""
    check = SelfCheck()
    for cameras in drive.sets:
        images = tuple(
            changes.get(image.name, lambda image, _: image)(image, cameras)
            if image and image.name in names
            else None
            for image in cameras.images
        )
        sources = None
        if depths:
            seen = _Seen(depths, {each.name: each for each in images if each})
            sources = RangeSources(seen, depths.of, drive.points_near)
        if any(images):
            check.look(replace(cameras, images=images), STILL_PERCENT, sources)
    return {name: check.health.get(name, CameraHealth()) for name in names}


def main(
    bag: Annotated[list[Path], typer.Option(help="recording with odometry; repeatable")],
    rig: Annotated[str, typer.Option()] = "nuscenes",
    alone: Annotated[bool, typer.Option("--alone", help="each camera by itself")] = False,
    lidar_topic: Annotated[str, typer.Option(help="PointCloud2 to check with")] = "",
    network: Annotated[str, typer.Option(help="whose depth is compared with it")] = "nano",
    page: Annotated[Path | None, typer.Option("--table", help="page with the marks")] = None,
) -> None:
    """See the module."""
    cv2.setNumThreads(1)
    image = load_network_config("nano").image
    depths = Depths(network) if lidar_topic else None
    named, other_words, tried, wrong = (
        Counter[str](),
        Counter[str](),
        Counter[str](),
        Counter[str](),
    )
    unstruck, cpu_ms, looks = Counter[str](), [], []
    for each in bag:
        drive = Drive(each, rig, image, lidar_topic)
        names = drive.sets[0].names
        parts = [(name,) for name in names] if alone else [names]
        for _ in range(2 if depths else 1):  # for the time that it takes without the network
            started_s = time.process_time()
            healthy = dict(
                pair for part in parts for pair in checked(drive, {}, part, depths).items()
            )
        cpu_ms.append((time.process_time() - started_s) / len(drive.sets) * 1e3)
        looks += [health.looks for health in healthy.values()]
        for name, health in healthy.items():
            tried["no fault"] += 1
            named["no fault"] += bool(health.suspicion)
            print(json.dumps({"bag": each.name, "camera": name} | _rounded(health)), flush=True)
        for row, words, changes in faults(names, alone):
            if depths and words != TURNED:
                continue
            struck = (*changes,) if alone else names
            for name, health in checked(drive, changes, struck, depths).items():
                if name in changes:
                    tried[row] += 1
                    named[row] += words in health.suspicion
                    other_words[row] += bool(health.suspicion) and words not in health.suspicion
                else:
                    unstruck[row] += 1
                    wrong[row] += bool(health.suspicion)
    lines = ["| fault | named | part of them | named as something else | alarms of other cameras |"]
    lines.append("|---|---|---|---|---|")
    for row, count in tried.items():
        interval = binomtest(named[row], count).proportion_ci(method="wilson")
        low, high = 100 * interval.low, 100 * interval.high
        share = f"{100 * named[row] / count:.0f} % ({low:.0f} to {high:.0f})"
        others = f"{wrong[row]} of {unstruck[row]}" if unstruck[row] else ""
        cells = (row, f"{named[row]} of {count}", share, f"{other_words[row]}", others)
        lines.append(f"| {' | '.join(cells)} |")
        print(
            json.dumps(dict(zip(("row", "named", "share", "else", "others"), cells, strict=True)))
        )
    cost = {"check_cpu_ms_per_set": round(float(np.median(cpu_ms)), 2)}
    print(json.dumps({"bags": len(bag), "looks_median": float(np.median(looks)), **cost}))
    if page is not None:
        kind = "self-check" + (" with LiDAR" if depths else " alone" if alone else "")
        text = between_marks(page.read_text("utf-8"), kind, "\n".join(lines))
        write_bytes(page, text.encode())


def _rounded(health: CameraHealth) -> dict[str, Any]:
    return {
        "looks": health.looks,
        "fit": round(health.fit, 3),
        "turn_deg": [round(degrees, 2) for degrees in health.turn_deg],
        "directions": health.directions,
        "still_percent": round(health.still_percent, 1),
        "neighbour_looks": health.neighbour_looks,
        "range_looks": health.range_looks,
        "range_error": round(health.range_error, 3),
        "overlap": round(health.overlap, 2),
        "suspicion": health.suspicion,
    }


if __name__ == "__main__":
    typer.run(main)

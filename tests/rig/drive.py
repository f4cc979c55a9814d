"""Synthetic camera stamps whose true cycles are known, and the oracle that judges sets by them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from renderocc_ros.config import CameraConfig, RigConfig, SyncConfig
from renderocc_ros.rig.matched_set import MatchedSet
from renderocc_ros.rig.stamp_matching import StampMatcher
from tests.conftest import find_recording

MS = 1_000_000
Message = tuple[str, int, int, int]  # camera, stamp_ns, true cycle, arrival_ns


@dataclass(frozen=True)
class Drive:
    """N cameras that fire in cycles.

    Attributes:
        offsets_ms: shutter time of each camera after the cycle; the first is the reference.
        jitter_ms: largest deviation of a stamp from its time.
        loss: share of the images that never arrive.
        gone: cycles [first, last) that a camera brings nothing for, by camera.
        latency_ms: delay of arrival of each image, drawn between these.
    """

    offsets_ms: tuple[float, ...]
    period_ms: float = 1000 / 12
    cycles: int = 60
    jitter_ms: float = 0.0
    loss: float = 0.0
    gone: dict[int, tuple[int, int]] = field(default_factory=dict)
    latency_ms: tuple[float, float] = (5.0, 25.0)
    start_ms: float = 1_700_000_000_000.0
    seed: int = 0

    def messages(self) -> list[Message]:
        """In order of arrival; of one camera, in order of stamps."""
        rng = np.random.default_rng(self.seed)
        out: list[Message] = []
        for camera, offset in enumerate(self.offsets_ms):
            arrived = 0
            first, last = self.gone.get(camera, (0, 0))
            for cycle in range(self.cycles):
                jitter = rng.uniform(-self.jitter_ms, self.jitter_ms)
                stamp = round((self.start_ms + cycle * self.period_ms + offset + jitter) * MS)
                lost = rng.random() < self.loss or first <= cycle < last
                arrived = max(arrived, stamp + round(rng.uniform(*self.latency_ms) * MS))
                if not lost:
                    out.append((f"cam{camera}", stamp, cycle, arrived))
        return sorted(out, key=lambda message: message[3])


def rig_of(count: int, given_ms: tuple[float, ...] | None = None, **sync: object) -> RigConfig:
    """A rig of cam0 … camN, with offsets if they are given."""
    cameras = tuple(
        CameraConfig(
            name=f"cam{i}",
            image_topic=f"cam{i}/image",
            offset_ms=None if given_ms is None else given_ms[i],
        )
        for i in range(count)
    )
    return RigConfig(name="test", cameras=cameras, sync=SyncConfig(**sync))  # type: ignore[arg-type]


def shifts(matcher: StampMatcher[int], drive: Drive) -> list[int]:
    """By how many cycles the matcher's offset of each camera differs from the true one.

    A learned offset is known modulo the period only, so a camera's image of cycle k may rightly
    stand in set k + shift, always with the same shift.
    """
    result: list[int] = []
    known = [matcher.offsets_ns[f"cam{i}"] is not None for i in range(len(drive.offsets_ms))]
    zero = drive.offsets_ms[known.index(True)]
    for camera, offset in enumerate(drive.offsets_ms):
        learned = matcher.offsets_ns[f"cam{camera}"]
        true = offset - zero
        learned_ms = true if learned is None else learned / MS
        result.append(round((true - learned_ms) / drive.period_ms))
    return result


def cycles_of(matched: MatchedSet[int], shift: list[int]) -> set[int]:
    """The true cycles of the fresh images of a set."""
    pairs = zip(matched.images, shift, strict=True)
    return {image.item + k for image, k in pairs if image is not None and not image.reused}


def complete_cycles(messages: list[Message], shift: list[int]) -> set[int]:
    """Brute force: the cycles of which every camera brought an image."""
    seen: dict[int, set[str]] = defaultdict(set)
    for camera, _, cycle, _ in messages:
        seen[cycle + shift[int(camera[3:])]].add(camera)
    return {cycle for cycle, cameras in seen.items() if len(cameras) == len(shift)}


def assert_accounts(matcher: StampMatcher[int]) -> None:
    """Every image that came in was used, was dropped for a reason, or still waits."""
    counters = matcher.counters
    for camera, waiting in matcher.waiting.items():
        dropped = sum(n for (name, _), n in counters.dropped.items() if name == camera)
        assert counters.received[camera] == counters.used[camera] + dropped + waiting


def nuscenes_stamps() -> list[Message]:
    """Camera stamps of the recorded nuScenes scene; the true cycle is the sample."""
    table = find_recording("data", "nuscenes", "v1.0-mini", "sample_data.json")
    records = json.loads(table.read_text())
    cameras = sorted(
        {r["filename"].split("/")[1] for r in records if "CAM_" in r["filename"]},
        key=lambda name: (name != "CAM_FRONT", name),
    )
    samples = {}
    for record in sorted(records, key=lambda r: r["timestamp"]):
        samples.setdefault(record["sample_token"], len(samples))
    return [
        (f"cam{cameras.index(name)}", r["timestamp"] * 1000, samples[r["sample_token"]],
         r["timestamp"] * 1000)
        for r in sorted(records, key=lambda r: r["timestamp"])
        if (name := r["filename"].split("/")[1]) in cameras
    ]  # fmt: skip

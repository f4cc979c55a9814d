"""Faults on demand: what goes wrong in recordings, at a known time, to see who notices."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from renderocc_ros.geometry import RigidTransform

# kind: (what happens, lasts this long if not given, value if not given)
KINDS: dict[str, tuple[str, float, float]] = {
    "dropped-camera": ("a camera sends neither images nor CameraInfo", 2.0, 0.0),
    "frozen-image": ("a camera repeats its last image under new stamps", 2.0, 0.0),
    "late-tf": ("transforms arrive VALUE seconds late", 2.0, 0.6),
    "wrong-extrinsics": (
        "a camera's mount in /tf_static is turned by VALUE degrees",
        math.inf,
        3.0,
    ),
    "jpeg-corruption": ("a camera's JPEGs are cut off or have broken bytes", 2.0, 0.0),
    "clock-jump": ("all stamps jump by VALUE seconds, for good", math.inf, -2.0),
    "overexposure": ("a camera exposes VALUE stops too long", 2.0, 3.5),
}
PATTERN = re.compile(
    r"(?P<kind>[a-z_-]+)@(?P<time>[0-9.]+)(\+(?P<duration>[0-9.]+))?"
    r"(:(?P<camera>[^=]+))?(=(?P<value>-?[0-9.]+))?"
)
FORM = "KIND@SECONDS[+DURATION][:CAMERA][=VALUE]"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: of ``KINDS``.
        start_s, duration_s: seconds since the first set.
        camera: whose; the rig's reference camera if empty, unused where all are struck.
        value: see ``KINDS``.
    """

    kind: str
    start_s: float
    duration_s: float
    camera: str
    value: float

    def strikes(self, time_s: float, camera: str | None = None) -> bool:
        """Whether it holds at a time (seconds since the first set), for a camera if given."""
        since = round(time_s - self.start_s, 6)  # 0.35 - 0.1 is a little less than 0.25
        during = 0 <= since < self.duration_s
        return during and camera in (None, self.camera)

    def __str__(self) -> str:
        lasting = "" if math.isinf(self.duration_s) else f"+{self.duration_s:g}"
        camera = f":{self.camera}" if self.camera else ""
        return f"{self.kind}@{self.start_s:g}{lasting}{camera}={self.value:g}"


def parse_fault(text: str) -> Fault:
    """A fault from ``KIND@SECONDS[+DURATION][:CAMERA][=VALUE]``.

    Raises:
        ValueError: not of this form, or an unknown kind.
    """
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"fault '{text}' is not {FORM}; for example dropped-camera@3+2:CAM_FRONT")
    kind = match["kind"].replace("_", "-")
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"unknown fault '{kind}'; {hint}known: {', '.join(KINDS)}")
    try:
        start = float(match["time"])
        duration = float(match["duration"]) if match["duration"] else KINDS[kind][1]
        value = float(match["value"]) if match["value"] else KINDS[kind][2]
    except ValueError as error:
        raise ValueError(f"fault '{text}': a number is malformed ({error}); {FORM}") from error
    return Fault(kind, start, duration, match["camera"] or "", value)


def settled(
    faults: Sequence[Fault],
    cameras: Sequence[str],
    reference: str,
    seconds: float,
    raw: Collection[str] = (),
) -> tuple[Fault, ...]:
    """Faults with their camera filled in.

    Args:
        raw: cameras that send no JPEG.

    Raises:
        ValueError: a camera that the rig lacks, or whose images cannot go wrong like this, or a
            fault after the end of the drive.
    """
    result = []
    for fault in faults:
        if fault.camera and fault.camera not in cameras:
            raise ValueError(
                f"fault '{fault}': the rig has no camera '{fault.camera}': {', '.join(cameras)}"
            )
        if fault.start_s >= seconds:
            raise ValueError(
                f"fault '{fault}' begins after the drive's end at {seconds:g} s: choose an earlier "
                "time or more --seconds"
            )
        everywhere = fault.kind in ("late-tf", "clock-jump")
        struck = fault if fault.camera or everywhere else replace(fault, camera=reference)
        if struck.kind == "jpeg-corruption" and struck.camera in raw:
            raise ValueError(
                f"fault '{struck}': {struck.camera} sends raw images, no JPEG; set 'compressed: "
                "true' for it in the rig, or choose another fault"
            )
        result.append(struck)
    return tuple(result)


def corrupted(jpeg: bytes, number: int) -> bytes:
    """A damaged JPEG: in turns cut off, and with bytes of its middle overwritten."""
    if number % 2 == 0:
        return jpeg[: len(jpeg) * 3 // 5]
    rng = np.random.default_rng([len(jpeg), number])
    broken = bytearray(jpeg)
    for position in rng.integers(len(jpeg) // 4, len(jpeg) - 2, 40):
        broken[position] = int(rng.integers(256))
    return bytes(broken)


def misaligned(base_from_camera: RigidTransform, degrees: float) -> RigidTransform:
    """A mount that is turned about a skew axis of the camera, as after a knock."""
    axis = np.array([0.6, 0.7, 0.3]) / np.linalg.norm([0.6, 0.7, 0.3])
    half = np.deg2rad(degrees) / 2
    turn = RigidTransform.from_quaternion([*(axis * np.sin(half)), np.cos(half)], np.zeros(3))
    return base_from_camera @ turn

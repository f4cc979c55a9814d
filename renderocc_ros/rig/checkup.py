"""How the doctor says what a camera is worth: in the same words live and of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from renderocc_ros.geometry import CameraModel, RigidTransform

Level = Literal["ok", "note", "wrong"]
STEEP_DEG = 60.0  # no camera of a robot looks up or down by more


@dataclass(frozen=True)
class Check:
    """One line of the doctor's table.

    Attributes:
        level: "wrong" keeps the node from working, "note" is worth knowing.
        subject: what was looked at.
        observation: what is there.
        cure: what to do; empty if nothing.
    """

    level: Level
    subject: str
    observation: str
    cure: str = ""

    def as_json(self) -> dict[str, str]:
        """As ``--json`` has it."""
        return {
            "level": self.level,
            "subject": self.subject,
            "found": self.observation,
            "cure": self.cure,
        }


def calibration_check(camera: str, model: CameraModel) -> Check:
    """A calibration that can be used."""
    half = model.width / (2 * model.intrinsics[0, 0])
    fisheye = model.distortion_model == "equidistant"
    wide = np.rad2deg(2 * (half if fisheye else np.arctan(half)))
    observation = f"{model.width}x{model.height}, {model.distortion_model}, about {wide:.0f}° wide"
    return Check("ok", f"{camera}: calibration", observation)


def mount_check(subject: str, base_from_camera: RigidTransform) -> Check:
    """Where a camera is on the robot, and whether it can look where its frame says."""
    x, y, z = base_from_camera.translation
    observation = f"at ({x:.2f}, {y:.2f}, {z:.2f}) m, looks {direction(base_from_camera)}"
    if is_steep(base_from_camera):
        cure = "is it an optical frame? z must be forward, x right, y down (REP-103)"
        return Check("wrong", subject, observation, cure)
    return Check("ok", subject, observation)


def is_steep(base_from_camera: RigidTransform) -> bool:
    """Whether a frame's z looks up or down, as that of a frame that is not optical does."""
    return bool(abs(base_from_camera.rotation[2, 2]) > np.sin(np.deg2rad(STEEP_DEG)))


def yaw_deg(base_from_camera: RigidTransform) -> float:
    """Where a camera looks, seen from above: degrees to the left of forward."""
    forward = base_from_camera.rotation[:, 2]
    return float(np.rad2deg(np.arctan2(forward[1], forward[0])))


def direction(base_from_camera: RigidTransform) -> str:
    """The robot's side that a camera looks to, in words and degrees to the left."""
    degrees = round(yaw_deg(base_from_camera))
    sides = ("forward", "left", "back", "right")
    return f"{sides[round(degrees / 90) % 4]} ({degrees:+d}°)"

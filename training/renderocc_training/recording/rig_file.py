"""A guessed rig as a file for people: what was guessed, and why, stands beside it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

import yaml

from renderocc_ros.outside_data import one_line
from renderocc_training.recording.rig_guess import GuessedCamera, RigGuess

PLAIN = re.compile(r"/?[A-Za-z_][\w/]*", re.ASCII)
WIDTH = 110


def rig_file(guess: RigGuess, recording: str) -> str:
    """The text of a rig file; what is recorded cannot break out of a comment or a string."""
    rig, reasons = guess.rig, guess.reasons
    lines = [
        *_comment(f"Written by 'renderocc doctor --bag {recording}': a guess from what it holds."),
        f"name: {_scalar(rig.name)}",
        *_entry("base_frame", _scalar(rig.base_frame), reasons["base_frame"]),
        *_comment("x forward, y left, z up; the grid's heights are measured from it"),
        *_entry("odom_frame", _scalar(rig.odom_frame), reasons["odom_frame"]),
        *_entry("reference", _scalar(rig.reference), reasons["reference"]),
        *_entry("ego_radius_m", _scalar(rig.ego_radius_m), reasons["ego_radius_m"]),
        "",
        "cameras:",
    ]
    for camera in guess.cameras:
        lines += _camera(camera)
    for camera in guess.lacking:
        lines += ["", *_comment("Left out until what it lacks is given:")]
        lines += [f"# {line}" for line in _camera(camera)]
    lines += [
        "",
        "# offset_ms of a camera is learned from the stream; give it where a trigger sets it.",
        "sync:",
        *_entry("  missing", rig.sync.missing, "mask, reuse, skip or wait"),
    ]
    if rig.sync.period_s is not None:
        lines += _entry("  period_s", _scalar(rig.sync.period_s), reasons["period_s"])
    lines += _entry("  timeout_s", _scalar(rig.sync.timeout_s), reasons["timeout_s"])
    lines += _entry("  min_cameras", _scalar(rig.sync.min_cameras), reasons["min_cameras"])
    return "\n".join(lines) + "\n"


def _camera(camera: GuessedCamera) -> Iterator[str]:
    config = camera.config
    yield f"  - name: {_scalar(config.name)}"
    checks = camera.checkup.checks
    notes = [check.observation for check in checks if check.level == "ok"] + camera.reasons
    for note in notes:
        yield from _comment(note, indent=4)
    yield f"    image_topic: {_scalar(config.image_topic)}"
    yield f"    compressed: {_scalar(config.compressed)}"
    if config.info_topic is not None:
        yield f"    info_topic: {_scalar(config.info_topic)}"
    if config.frame is not None:
        yield f"    frame: {_scalar(config.frame)}"
    else:
        yield "    # frame: front_optical"
    if config.rectified:
        yield "    rectified: true"
    for check in checks:
        if check.level == "wrong":
            yield from _comment(f"{check.subject}: {check.observation}: {check.cure}", indent=4)
    if any(check.subject.endswith("calibration") and check.level == "wrong" for check in checks):
        yield "    # calibration: front.yaml"
    if camera.checkup.base_from_camera is None:
        yield "    # mount: {position_m: [0.0, 0.0, 0.0], yaw_deg: 0, pitch_deg: 0, roll_deg: 0}"


def _entry(key: str, value: str, reason: str) -> Iterator[str]:
    """One key, its reason behind it where there is room, else above."""
    line = f"{key}: {value}"
    indent = len(key) - len(key.lstrip())
    if reason and len(line) + len(reason) + 4 > WIDTH:
        yield from _comment(reason, indent)
        reason = ""
    yield f"{line}  # {one_line(reason)}" if reason else line


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    """Lines of a comment; whatever the text holds, it stays one."""
    margin = " " * indent
    for line in textwrap.wrap(one_line(text), WIDTH - indent - 2, break_long_words=False):
        yield f"{margin}# {line}"


def _scalar(value: object) -> str:
    """A YAML value that reads back as what it is."""
    if isinstance(value, str):
        if PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
            return value
        quoted = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10_000)
        return str(quoted).strip()
    return "null" if value is None else str(yaml.safe_dump(value)).split("\n")[0]

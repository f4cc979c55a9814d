"""``renderocc doctor --bag``: what a recording holds, and a rig file for it. Needs no ROS."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from renderocc_ros.config import load_rig
from renderocc_ros.rig.checkup import Check
from renderocc_training.recording.bag_checkup import check_bag
from renderocc_training.recording.bag_survey import BagSurvey, SurveyedTopic, is_read, survey
from renderocc_training.recording.camera_checkup import CameraCheckup, check_camera, rate
from renderocc_training.recording.picture_topics import image_topic, pictures
from renderocc_training.recording.rig_file import rig_file
from renderocc_training.recording.rig_guess import RigGuess, guess_rig
from renderocc_training.recording.robot_frames import find_frames


@dataclass(frozen=True)
class ShownTopic:
    """One line of the table of topics, in words."""

    topic: str
    type: str
    rate: str
    content: str
    use: str


@dataclass(frozen=True)
class BagReport:
    """What is shown of a recording.

    Attributes:
        heading: what was read.
        topics: those that this program reads, or would if they were otherwise.
        unread: how many are of types that nothing here reads, by type.
        checks: lines of the doctor's table.
        commands: what to call next.
        rig_text: the file of the guessed rig; empty where a rig was given or there is no camera.
    """

    heading: str
    topics: tuple[ShownTopic, ...]
    unread: dict[str, int]
    checks: tuple[Check, ...]
    commands: tuple[str, ...]
    rig_text: str


def look_into(bag: Path, rig: str | None, namespace: str, rig_file_path: Path | None) -> BagReport:
    """Look into a recording, for a rig or for one to be guessed.

    Args:
        rig: a rig to compare it with, by name or path.
        namespace: of one of several robots.
        rig_file_path: where the guessed rig is to be; its stem is the rig's name.
    """
    seen = survey(bag, namespace)
    heading = (
        f"{bag}: {seen.messages:,} messages on {len(seen.topics)} topics in {seen.seconds:.1f} s. "
        f"Read: the index, {seen.read}."
    )
    if rig is not None:
        known = load_rig(rig)
        cameras = [check_camera(seen, camera, known.base_frame) for camera in known.cameras]
        rest = check_bag(seen, known.base_frame, known.odom_frame, cameras)
        checks = [check for camera in cameras for check in camera.checks]
        commands = _commands(bag, rig, rest.options)
        uses = _camera_uses(cameras) | rest.uses
        return BagReport(heading, *_topics(seen, uses), (*checks, *rest.checks), commands, "")
    try:
        guess = guess_rig(seen, rig_file_path.stem if rig_file_path else "my_rig")
    except ValueError as error:
        frames = find_frames(seen, ())
        rest = check_bag(seen, frames.base, frames.odom, ())
        none = Check("wrong", "cameras", str(error), "record Image or CompressedImage of a camera")
        return BagReport(heading, *_topics(seen, rest.uses), (none, *rest.checks), (), "")
    cameras = [each.checkup for each in guess.cameras]
    rest = check_bag(seen, guess.rig.base_frame, guess.rig.odom_frame, cameras)
    uses = guess.unused | _camera_uses(cameras)
    uses |= {each.config.image_topic: "a camera that lacks something" for each in guess.lacking}
    file = str(rig_file_path or "my_rig.yaml")
    return BagReport(
        heading,
        *_topics(seen, uses | rest.uses),
        (*_frames(guess), *guess.checks(), *rest.checks),
        _commands(bag, file, rest.options) if guess.usable else (),
        rig_file(guess, bag.resolve().name),
    )


def _camera_uses(cameras: Iterable[CameraCheckup]) -> dict[str, str]:
    """What topics are used for, by the topic itself or by the name without its transport."""
    uses = {}
    for camera in cameras:
        topic = camera.images.name if camera.images else camera.config.image_topic
        uses[topic] = f"camera {camera.config.name}"
        uses[camera.config.camera_info_topic] = "calibration"
    return uses


def _frames(guess: RigGuess) -> Iterator[Check]:
    """The rig's frames and its timing, as far as they were guessed."""
    frames = guess.frames
    if frames.base_is_sure:
        yield Check("ok", "base frame", f"{frames.base}: {frames.base_reason}")
    else:
        cure = "correct base_frame in the rig: x forward, y left, z up, on the ground"
        yield Check("note", "base frame", f"{frames.base}: {frames.base_reason}", cure)
    for other in frames.others:
        observation = f"its cameras hang below '{other}', not '{frames.base}'"
        yield Check("note", "another robot", observation, "write a rig of its own for it")
    if len(guess.cameras) > 1:
        observation = f"{len(guess.cameras)} cameras fire within {guess.spread_ms:.1f} ms"
        if guess.rig.sync.period_s is None:
            yield Check("ok", "timing", observation)
        else:
            cure = "leave slow cameras out of the rig for more results a second"
            yield Check("note", "timing", f"rates differ; {guess.reasons['period_s']}", cure)


def _topics(
    seen: BagSurvey, uses: Mapping[str, str]
) -> tuple[tuple[ShownTopic, ...], dict[str, int]]:
    """What is read or has a use, and the number of other topics by type."""
    shown = {each.image_topic: each for each in pictures(seen)}
    lines, unread = [], Counter[str]()
    for topic in seen.topics.values():
        picture = shown.get(image_topic(topic))
        use = uses.get(topic.name, "")
        if picture is not None and picture.topic is topic:
            use = use or uses.get(picture.image_topic, "")
        elif picture is not None:
            use = f"the same as {picture.topic.name}"
        if not topic.topic.count:
            use = "no messages"
        kind = topic.message_type.rpartition("/")[2]
        if not use and not is_read(topic.message_type):
            unread[kind] += 1
            continue
        details = [part for part in (topic.frame and f"in '{topic.frame}'", topic.problem) if part]
        if picture is not None and picture.topic is topic:
            details.insert(0, f"{picture.size[0]}x{picture.size[1]} {picture.encoding}")
        lines.append(ShownTopic(topic.name, kind, _rate(topic, seen), ", ".join(details), use))
    return tuple(lines), dict(unread)


def _rate(topic: SurveyedTopic, seen: BagSurvey) -> str:
    if topic.topic.count < 2 or topic.topic.latched or not seen.seconds:
        return f"{topic.topic.count}"
    if topic.period_ns:
        return rate(topic)
    return f"{topic.topic.count / seen.seconds:.1f} Hz"


def _commands(bag: Path, rig: str, options: list[str]) -> tuple[str, ...]:
    """What to call next, with what the recording leaves open."""
    shared = [each for name in ("--namespace", "--odometry") for each in _option(options, name)]
    commands = [
        ["extract", str(bag), "--rig", rig, *options, "--out", "data"],
        ["evaluate", "nano", str(bag), "--rig", rig, *shared, "--out", "results"],
    ]
    if not shared:  # the node's transforms come by /tf
        commands.append(["demo", "--bag", str(bag), "--rig", rig])
    return tuple(shlex.join(["renderocc", *command]) for command in commands)


def _option(options: list[str], name: str) -> list[str]:
    return options[options.index(name) :][:2] if name in options else []

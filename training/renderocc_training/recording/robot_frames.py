"""Which frame of a recording is the robot's base, and which one does not jump."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from renderocc_training.recording.bag_survey import ODOMETRY, BagSurvey, SurveyedTopic, is_world
from renderocc_training.recording.transform_tree import TransformTree

# What robots call their base frame, best first: the grid's heights are measured from it, so one on
# the ground is preferred.
BASE_NAMES = (
    *("base_footprint", "base_link", "base", "base_frame", "ego_vehicle", "ego"),
    *("vehicle", "car", "robot", "body", "chassis", "trunk"),
)


@dataclass(frozen=True)
class RobotFrames:
    """The frames of a rig file.

    Attributes:
        base, odom: as the rig names them; no odom where the robot's motion is not recorded.
        base_reason, odom_reason: what they were chosen for.
        base_is_sure: it has a name that robots give it, and carries the cameras.
        others: base frames of other robots, whose cameras are not of this rig.
    """

    base: str
    odom: str | None
    base_reason: str
    odom_reason: str
    base_is_sure: bool
    others: tuple[str, ...]


def find_frames(survey: BagSurvey, sensors: Collection[str]) -> RobotFrames:
    """The frames of the robot that carries most of some sensors.

    Args:
        sensors: frames of its cameras; some may not be linked to anything.
    """
    tree = survey.tree
    known = set(tree.frames)
    roots = Counter(body_root(tree, frame) for frame in sensors if frame in known)
    if not roots:
        return _without_cameras(survey, known)
    (root, _), *rest = roots.most_common()
    base, reason, is_sure = _base(survey, root)
    others = tuple(_base(survey, other)[0] for other, _ in rest)
    odom, odom_reason = _odom(survey, base)
    return RobotFrames(base, odom, reason, odom_reason, is_sure, others)


def body_root(tree: TransformTree, frame: str) -> str:
    """The topmost frame of the body that carries a frame; pan and tilt joints move within it."""
    passed = {frame}
    while True:
        parents = tree.parents(frame)
        own = [name for name, _ in sorted(parents.items(), key=lambda each: not each[1])]
        up = next((name for name in own if not is_world(name) and name not in passed), None)
        if up is None:
            return frame
        passed.add(up)
        frame = up


def _base(survey: BagSurvey, root: str) -> tuple[str, str, bool]:
    """The base of a body: its frame, why, and whether its name says so."""
    tree = survey.tree
    body = [frame for frame in tree.frames if body_root(tree, frame) == root]
    for name in BASE_NAMES:
        fitting = sorted((frame for frame in body if _is_called(frame, name)), key=len)
        if fitting:
            return fitting[0], _reason(name, fitting[0], body), True
    children = [topic.first.child_frame_id.lstrip("/") for topic in _odometries(survey)]
    if child := next((child for child in children if child in body), None):
        return child, "it is what the odometry is of", False
    return root, "it carries the cameras, and no frame is called base_link", False


def _reason(name: str, frame: str, body: Collection[str]) -> str:
    if name == "base_footprint" and any(_is_called(other, "base_link") for other in body):
        return "base_footprint is on the ground, base_link may not be"
    return "its name says so, and it carries the cameras" if len(body) > 1 else "its name says so"


def _is_called(frame: str, name: str) -> bool:
    """Whether a frame has a name, perhaps behind that of its robot: robot1/base_link."""
    last = frame.lower().rpartition("/")[2]
    return last == name or ("_" in name and last.endswith(f"_{name}"))


def _odom(survey: BagSurvey, base: str) -> tuple[str | None, str]:
    """The frame that does not jump, and why."""
    tree = survey.tree
    above = [frame for frame in tree.frames if frame != base and tree.hangs_below(base, frame)]
    world = [frame for frame in above if is_world(frame)]
    for frames in ([frame for frame in world if "odom" in frame.lower()], world):
        if frames:
            nearest = max(frames, key=lambda frame: sum(tree.hangs_below(frame, f) for f in above))
            jumps = "" if "odom" in nearest.lower() else "; it may jump, odometry would not"
            return nearest, f"transforms link it to {base}{jumps}"
    moving = [parent for parent, static in tree.parents(base).items() if not static]
    if moving:
        return moving[0], f"{base} moves in it"
    odometries = _odometries(survey)
    if odometries:
        topic = odometries[0]
        return topic.frame or "odom", f"the frame of {topic.name}; no transform says it"
    return None, "neither transforms nor an Odometry topic say how the robot moves"


def _odometries(survey: BagSurvey) -> list[SurveyedTopic]:
    """Odometry topics that hold messages, wheels before filters that may jump."""
    topics = [each for each in survey.of_type(ODOMETRY) if each.first is not None]
    return sorted(topics, key=lambda each: ("odom" not in each.frame.lower(), each.name))


def _without_cameras(survey: BagSurvey, known: Collection[str]) -> RobotFrames:
    """No camera's frame is linked to anything: what the other transforms and odometry say."""
    children = [topic.first.child_frame_id.lstrip("/") for topic in _odometries(survey)]
    named = [frame for name in BASE_NAMES for frame in sorted(known) if _is_called(frame, name)]
    candidates = [*named, *filter(None, children)]
    base = candidates[0] if candidates else "base_link"
    reason = "its name says so; no transform links it to a camera" if candidates else "a guess"
    odom, odom_reason = _odom(survey, base)
    return RobotFrames(base, odom, reason, odom_reason, False, ())

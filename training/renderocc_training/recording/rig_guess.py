"""A rig for a recording that comes without one: its cameras, frames and how they are matched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from renderocc_ros.config import OPTICAL, CameraConfig, RigConfig, SyncConfig, Transport, validate
from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.calibration import scaled_to_image
from renderocc_ros.rig.checkup import Check, is_steep, yaw_deg
from renderocc_ros.rig.stamp_learning import offset_ns
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_survey import CAMERA_INFO, BagSurvey, SurveyedTopic
from renderocc_training.recording.camera_checkup import CameraCheckup, check_camera, pose_of
from renderocc_training.recording.picture_topics import (
    Picture,
    image_topic,
    names_of,
    pictures,
    words_of,
)
from renderocc_training.recording.robot_frames import RobotFrames, body_root, find_frames

SAME_AXIS_DEG, SAME_PLACE_M = 30.0, 1.0  # a grey camera so near a colour one sees the same
CAR_HEIGHT_M = 1.3  # sensors of a car, or of what is as large, sit higher than this
COMPRESSED_KEY: dict[Transport, bool | Literal["as_named", "ffmpeg"]] = {
    "raw": False,
    "compressed": True,
    "as_named": "as_named",
    "ffmpeg": "ffmpeg",
}
RATES_DIFFER = 1.3
COMMON = frozenset(("camera", "cam", "info"))  # words that tell no cameras apart
OTHER_KINDS = {
    "depth": "depth",
    "infrared": "infrared or thermal; networks are trained with colours",
    "labels": "label images",
    "drawn": "drawn or rendered, by its name",
}


@dataclass
class GuessedCamera:
    """A camera with what speaks for it.

    Attributes:
        picture: the topic it is known by.
        checkup: what the recording has of it.
        reasons: what was guessed, and why.
    """

    picture: Picture
    checkup: CameraCheckup
    reasons: list[str]

    @property
    def config(self) -> CameraConfig:
        """As the rig has it."""
        return self.checkup.config


@dataclass
class RigGuess:
    """What a recording's rig seems to be.

    Attributes:
        rig: those cameras that can be used; all where none can.
        cameras: of the rig, in its order.
        lacking: cameras that lack something, and are not in the rig.
        frames: base and odometry frames, with reasons.
        unused: image topics that are no cameras of this rig, and why.
        reasons: of keys of the rig, by key.
        spread_ms: time between the first and the last camera of a cycle.
    """

    rig: RigConfig
    cameras: list[GuessedCamera]
    lacking: list[GuessedCamera]
    frames: RobotFrames
    unused: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)
    spread_ms: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether the rig gives sets without an edit."""
        return all(camera.checkup.usable for camera in self.cameras)

    def checks(self) -> list[Check]:
        """Of all cameras, those that lack something last; what was guessed is a note."""
        checks: list[Check] = []
        for camera in (*self.cameras, *self.lacking):
            checks += camera.checkup.checks
            subject = f"{camera.config.name}: guessed"
            checks += [Check("note", subject, reason) for reason in camera.reasons]
        return checks


def guess_rig(survey: BagSurvey, name: str) -> RigGuess:
    """Choose cameras and frames.

    Args:
        name: what the rig is called.

    Raises:
        ValueError: no topic may be a camera's.
    """
    seen = pictures(survey)
    unused = {each.image_topic: OTHER_KINDS[each.kind] for each in seen if each.kind in OTHER_KINDS}
    candidates = [each for each in seen if each.kind not in OTHER_KINDS]
    if survey.namespace:
        own = [each for each in candidates if each.image_topic.startswith(f"/{survey.namespace}/")]
        candidates = own or candidates
    candidates, refused = _named_as_topics(candidates)
    unused |= refused
    if not candidates:
        rest = "; ".join(f"{topic}: {reason}" for topic, reason in unused.items())
        raise ValueError(f"no topic has images of a camera{f' ({rest})' if rest else ''}")
    frames = find_frames(survey, [each.topic.frame for each in candidates])
    cameras = [_camera(survey, picture, "camera", frames.base) for picture in candidates]
    cameras, others = _of_one_robot(survey, cameras, frames)
    cameras, same = _without_twins(cameras)
    unused |= others | same
    names = names_of([each.picture.image_topic for each in cameras])
    cameras = [
        _camera(survey, each.picture, name, frames.base)
        for each, name in zip(cameras, names, strict=True)
    ]
    usable = [each for each in cameras if each.checkup.usable]
    chosen = sorted(usable or cameras, key=_from_the_front)
    lacking = [each for each in cameras if each not in chosen]
    return _rig(name, chosen, lacking, frames, unused)


# ------------------------------------------------------------------------------------ cameras


def _named_as_topics(candidates: list[Picture]) -> tuple[list[Picture], dict[str, str]]:
    """Those whose topic a rig file can name."""
    named, refused = [], {}
    for picture in candidates:
        try:
            validate({"name": "x", "image_topic": picture.image_topic}, CameraConfig, "")
            named.append(picture)
        except ValueError:
            refused[picture.image_topic] = "no name that ROS 2 allows: rename the topic"
    return named, refused


def _camera(survey: BagSurvey, picture: Picture, name: str, base: str) -> GuessedCamera:
    reasons = []
    frame = picture.topic.frame
    optical = _optical_frame(survey, frame, base, picture.topic.stamps_ns)
    if optical != frame:
        reasons.append(f"images name '{frame}', which is no optical frame; '{optical}' is")
    config = CameraConfig(
        name=name,
        image_topic=picture.image_topic,
        compressed=COMPRESSED_KEY[picture.transport],
        frame=optical or None,
        rectified=picture.rectified,
    )
    info, reason = _info(survey, picture, config)
    if info is not None:
        if info.name != config.camera_info_topic:
            config = config.model_copy(update={"info_topic": info.name})
        if not frame and info.frame:
            reasons.append("images name no frame; this is CameraInfo's")
            config = config.model_copy(update={"frame": info.frame})
    if picture.rectified:
        reasons.append("rectified, by its name: P of CameraInfo holds")
    checkup = check_camera(survey, config, base)
    return GuessedCamera(picture, checkup, [*reasons, *filter(None, [reason])])


def _optical_frame(survey: BagSurvey, frame: str, base: str, stamps_ns: list[int]) -> str:
    """The frame itself, or where that looks up or down its child that is turned as cameras are."""
    tree = survey.tree
    try:
        if not frame or not is_steep(pose_of(survey, base, frame, stamps_ns)):
            return frame
    except ValueError:
        return frame
    children = []
    for child in tree.frames:
        if frame in tree.parents(child):
            turn = tree.lookup(frame, child, stamps_ns[0] if stamps_ns else 0).rotation
            children += [child] if np.allclose(turn, OPTICAL, atol=0.1) else []
    return children[0] if len(children) == 1 else frame


def _info(
    survey: BagSurvey, picture: Picture, config: CameraConfig
) -> tuple[SurveyedTopic | None, str]:
    """The CameraInfo topic that describes these images, and why, where it does not lie beside them.

    The first that fits in size, of: beside the images or above, of the same frame, of a name with
    the same words, the only one.
    """
    infos = survey.of_type(CAMERA_INFO)
    owned = {_parents(name)[0] for each in survey.topics.values() if (name := image_topic(each))}
    free = [each for each in infos if each.name not in owned]
    above = _parents(picture.image_topic)
    frame = picture.topic.frame
    words = set(picture.words) - COMMON
    ranked = [
        ([each for name in above for each in infos if each.name == name], ""),
        ([each for each in infos if frame and each.frame == frame], f"is of frame '{frame}', too"),
        ([each for each in infos if set(words_of(each.name)) - COMMON == words], "has its name"),
        (free if len(infos) == 1 else [], "is the only one: is it of this camera?"),
    ]
    for fitting, reason in ranked:
        for info in fitting:
            if _fits(info, picture, config.rectified):
                return info, f"CameraInfo {info.name} {reason}" if reason else ""
    return None, ""


def _parents(topic: str) -> list[str]:
    """camera_info beside a topic, and in the folders above it."""
    parts = topic.split("/")[:-1]
    return ["/".join([*parts[:count], "camera_info"]) for count in range(len(parts), 0, -1)]


def _fits(info: SurveyedTopic, picture: Picture, rectified: bool) -> bool:
    if info.first is None:
        return False
    try:
        model = content.model_of_info(info.first, rectified)
        if any(picture.size):
            scaled_to_image(model, *picture.size)
    except ValueError:
        return False
    return True


def _of_one_robot(
    survey: BagSurvey, cameras: list[GuessedCamera], frames: RobotFrames
) -> tuple[list[GuessedCamera], dict[str, str]]:
    """Without cameras that another robot carries."""
    if not frames.others:
        return cameras, {}
    own = body_root(survey.tree, frames.base)
    known = set(survey.tree.frames)
    others = {
        each.config.image_topic: f"on another body than {frames.base}"
        for each in cameras
        if each.picture.topic.frame in known
        and body_root(survey.tree, each.picture.topic.frame) != own
    }
    return [each for each in cameras if each.config.image_topic not in others], others


def _without_twins(
    cameras: list[GuessedCamera],
) -> tuple[list[GuessedCamera], dict[str, str]]:
    """Each camera once, raw rather than rectified and large rather than small; and no grey ones
    that look where a colour one does."""
    ranked = sorted(
        cameras,
        key=lambda each: (
            not each.checkup.usable,
            each.picture.kind == "grey",
            each.picture.rectified,
            -each.picture.size[0],
            each.config.image_topic,
        ),
    )
    kept: list[GuessedCamera] = []
    dropped: dict[str, str] = {}
    for camera in ranked:
        twin = next((other for other in kept if _same_camera(camera, other)), None)
        if twin is not None:
            dropped[camera.config.image_topic] = f"the same camera as {twin.config.image_topic}"
            continue
        colour = next((other for other in kept if _grey_beside(camera, other)), None)
        if colour is not None:
            reason = f"grey, and looks where {colour.config.image_topic} does"
            dropped[camera.config.image_topic] = reason
            continue
        kept.append(camera)
    return [each for each in cameras if each in kept], dropped


def _same_camera(one: GuessedCamera, other: GuessedCamera) -> bool:
    """Two views of one exposure: of the same frame and stamps, and of the same name or lens."""
    if one.picture.topic.frame != other.picture.topic.frame:
        return False
    stamps = [set(each.picture.topic.stamps_ns) for each in (one, other)]
    if 2 * len(stamps[0] & stamps[1]) < min(map(len, stamps)):
        return False
    models = (one.checkup.model, other.checkup.model)
    if None not in models and _shift(models[0]) != _shift(models[1]):
        return False  # the right camera of a rectified pair
    return one.picture.words == other.picture.words or models[0] == models[1] is not None


def _shift(model: CameraModel | None) -> tuple[float, float]:
    return (0.0, 0.0) if model is None else model.centre_m


def _grey_beside(one: GuessedCamera, colour: GuessedCamera) -> bool:
    if (one.picture.kind, colour.picture.kind) != ("grey", "colour"):
        return False
    poses = (one.checkup.base_from_camera, colour.checkup.base_from_camera)
    if poses[0] is None or poses[1] is None or not colour.checkup.usable:
        return False
    cosine = float(poses[0].rotation[:, 2] @ poses[1].rotation[:, 2])
    apart_m = float(np.linalg.norm(poses[0].translation - poses[1].translation))
    return cosine > np.cos(np.deg2rad(SAME_AXIS_DEG)) and apart_m < SAME_PLACE_M


def _from_the_front(camera: GuessedCamera) -> tuple[bool, float, str]:
    """Forward first, then round to the left and the right; those without a pose last."""
    pose = camera.checkup.base_from_camera
    angle = 0.0 if pose is None else round(yaw_deg(pose))
    return pose is None, abs(angle), camera.config.image_topic


# ------------------------------------------------------------------------------ the whole rig


def _rig(
    name: str,
    cameras: list[GuessedCamera],
    lacking: list[GuessedCamera],
    frames: RobotFrames,
    unused: dict[str, str],
) -> RigGuess:
    reasons = {"base_frame": frames.base_reason, "odom_frame": frames.odom_reason}
    names = [each.config.name for each in cameras]
    reasons["reference"] = f"{names[0]} looks forward most" if len(names) > 1 else ""
    poses = [p for each in cameras if (p := each.checkup.base_from_camera) is not None]
    large = bool(poses) and max(float(pose.translation[2]) for pose in poses) > CAR_HEIGHT_M
    reasons["ego_radius_m"] = (
        f"a camera sits above {CAR_HEIGHT_M} m: taken for a car; of a smaller robot its radius"
        if large
        else "LiDAR returns nearer to the sensor than this are taken for the robot itself"
    )
    sync, spread_ms = _sync(cameras, reasons)
    defaults = RigConfig.model_fields["ego_radius_m"].default
    rig = RigConfig(
        name=name,
        cameras=tuple(each.config for each in cameras),
        reference=names[0],
        base_frame=frames.base,
        odom_frame=frames.odom,
        ego_radius_m=None if large else defaults,
        sync=sync,
    )
    return RigGuess(rig, cameras, lacking, frames, unused, reasons, spread_ms)


def _sync(cameras: list[GuessedCamera], reasons: dict[str, str]) -> tuple[SyncConfig, float]:
    """Matching of the cameras, and how far apart they fire, milliseconds."""
    topics = [each.picture.topic for each in cameras]
    periods = [period for each in topics if (period := each.period_ns)]
    slowest = max(periods, default=0)
    period_s = None
    if periods and slowest > RATES_DIFFER * min(periods):
        period_s = round(slowest * 1e-9, 4)
        rates = ", ".join(
            f"{each.config.name} {1e9 / (each.picture.topic.period_ns or slowest):.1f} Hz"
            for each in cameras
        )
        reasons["period_s"] = f"of the slowest camera; faster ones give the nearest image: {rates}"
    reference = topics[0].stamps_ns
    offsets = [
        offset_ns(each.stamps_ns, reference, slowest) or 0 if slowest and each.stamps_ns else 0
        for each in topics
    ]
    delays = [each.delay_ns if each.stamps_ns else 0 for each in topics]
    arrivals = [offset + delay for offset, delay in zip(offsets, delays, strict=True)]
    wait_s = (max(arrivals) - min(arrivals)) * 1e-9
    default_s = float(SyncConfig.model_fields["timeout_s"].default)
    timeout_s = max(default_s, min(round(1.5 * wait_s + 0.05, 2), 2.0))
    reasons["timeout_s"] = f"the last image of a cycle was recorded {wait_s:.3f} s after its first"
    least = (len(cameras) + 1) // 2
    reasons["min_cameras"] = "half of them"
    return (
        SyncConfig(period_s=period_s, timeout_s=timeout_s, min_cameras=least),
        (max(offsets) - min(offsets)) * 1e-6,
    )

"""What a recording has of one camera of a rig: images, calibration, and where it is mounted."""

from __future__ import annotations

from dataclasses import dataclass

from renderocc_ros.config import CameraConfig
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.rig.calibration_files import fixed_model
from renderocc_ros.rig.checkup import Check, calibration_check, mount_check
from renderocc_ros.rig.image_decoding import decode_for, decode_message
from renderocc_training.recording import message_content as content
from renderocc_training.recording.bag_layout import image_topic_of, image_topics, resolved
from renderocc_training.recording.bag_reader import Topic
from renderocc_training.recording.bag_survey import BagSurvey, SurveyedTopic

CALIBRATION_CURE = (
    "record its CameraInfo, name it as info_topic in the rig, or name a file of camera_calibration "
    "or Kalibr there: calibration: FILE"
)
MOUNT_CURE = "record /tf_static, or say in the rig where it is: mount (docs/your-cameras.md)"


@dataclass(frozen=True, eq=False)
class CameraCheckup:
    """A camera, and what the recording says of it.

    Attributes:
        images: the topic that is read; None if there is none.
        model: of its images at their size; None if that is not known.
        base_from_camera: None if it is not known.
        checks: of images, calibration and mount; it can be used if none is wrong.
    """

    config: CameraConfig
    images: SurveyedTopic | None
    model: CameraModel | None
    base_from_camera: RigidTransform | None
    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        """Whether its images go into sets."""
        return all(check.level != "wrong" for check in self.checks)


def check_camera(survey: BagSurvey, camera: CameraConfig, base_frame: str) -> CameraCheckup:
    """Look for a camera's topics and frame as extraction does."""
    topics = {name: each.topic for name, each in survey.topics.items()}
    name = image_topic_of(camera, topics, survey.namespace)
    image = None if name is None else survey.topics[name]
    info = survey.topics.get(resolved(camera.camera_info_topic, survey.namespace))
    images = _check_images(camera.name, image, topics)
    model, calibration = _calibration(camera, image, info)
    pose, mount = _mount(survey, camera, image, base_frame)
    return CameraCheckup(camera, image, model, pose, (images, calibration, mount))


def _check_images(name: str, image: SurveyedTopic | None, topics: dict[str, Topic]) -> Check:
    subject = f"{name}: images"
    if image is None:
        observation = f"none; the recording has images on {image_topics(topics)}"
        return Check("wrong", subject, observation, "correct image_topic in the rig")
    observation = f"{rate(image)} on {image.name}"
    if image.first is None:
        return Check("wrong", subject, f"{observation}: {image.problem or 'none could be read'}")
    if not any(stamp > 0 for stamp in image.stamps_ns):
        cure = "the driver is to stamp its images; without stamps none can be matched"
        return Check("wrong", subject, f"{observation}, all stamps are 0", cure)
    return Check("ok", subject, observation)


def rate(topic: SurveyedTopic) -> str:
    """How often it comes, in words."""
    period_ns = topic.period_ns
    return f"{1e9 / period_ns:.1f} Hz" if period_ns else f"{topic.topic.count} messages"


def _calibration(
    camera: CameraConfig, image: SurveyedTopic | None, info: SurveyedTopic | None
) -> tuple[CameraModel | None, Check]:
    subject = f"{camera.name}: calibration"
    try:
        model = fixed_model(camera)
        if model is None and info is not None and info.first is not None:
            model = content.model_of_info(info.first, camera.rectified)
    except ValueError as error:
        return None, Check("wrong", subject, str(error), "calibrate the camera")
    if image is None or image.first is None:
        return model, Check("wrong", subject, "there is no image to compare it with")
    try:
        if model is None:
            decode_message(image.first)
            return None, Check("wrong", subject, "no CameraInfo", CALIBRATION_CURE)
        _, model = decode_for(image.first, model, lambda _: 1)
    except ValueError as error:
        return None, Check("wrong", subject, str(error), "compare image and CameraInfo")
    return model, calibration_check(camera.name, model)


def _mount(
    survey: BagSurvey, camera: CameraConfig, image: SurveyedTopic | None, base_frame: str
) -> tuple[RigidTransform | None, Check]:
    frame = camera.frame or (image.frame if image is not None else "")
    subject = f"{camera.name}: transform {base_frame} ← {frame or '?'}"
    if not frame:
        return None, Check("wrong", subject, "no image names its frame", "name it in the rig")
    if camera.mount is not None:
        pose = camera.mount.base_from_optical()
        return pose, mount_check(subject, pose)
    try:
        pose = pose_of(survey, base_frame, frame, image.stamps_ns if image is not None else [])
    except ValueError as error:
        return None, Check("wrong", subject, str(error), MOUNT_CURE)
    return pose, mount_check(subject, pose)


def pose_of(survey: BagSurvey, base: str, frame: str, stamps_ns: list[int]) -> RigidTransform:
    """Where a frame is on the robot, at the first of some stamps at which that is known.

    Raises:
        ValueError: at none of them.
    """
    problem: ValueError | None = None
    for stamp_ns in stamps_ns or [0]:
        try:
            return survey.tree.lookup(base, frame, stamp_ns)
        except ValueError as error:
            problem = problem or error
    assert problem is not None
    raise problem

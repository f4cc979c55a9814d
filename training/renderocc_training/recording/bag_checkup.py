"""What a recording holds for this project, what would be used of it, and what it lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from renderocc_ros.rig.checkup import Check
from renderocc_ros.rig.stamp_learning import median_ns
from renderocc_training.recording.bag_layout import (
    OCCUPANCY,
    TRUTH_TOPIC,
    resolved,
)
from renderocc_training.recording.bag_survey import (
    BOXES,
    CLOUD,
    ODOMETRY,
    BagSurvey,
    SurveyedTopic,
    is_world,
)
from renderocc_training.recording.camera_checkup import CameraCheckup, pose_of, rate
from renderocc_training.recording.picture_topics import Picture, not_pictures, pictures, words_of

CLOCKS_AGREE_NS = 1_000_000_000
# Words of clouds that are no scans: maps, what was computed, and depth cameras'.
DERIVED = (
    *("map", "submap", "global", "costmap", "depth", "color", "colour", "registered", "ground"),
    *("obstacles", "filtered", "accumulated", "cluster", "clusters", "voxel", "voxels"),
    "renderocc",
)
RAW_PACKETS = {
    "velodyne_msgs/msg/VelodyneScan": "velodyne_pointcloud",
    "ouster_sensor_msgs/msg/PacketMsg": "ouster_ros",
    "ouster_ros/msg/PacketMsg": "ouster_ros",
    "livox_ros_driver2/msg/CustomMsg": "livox_ros_driver2 (xfer_format 0)",
    "livox_ros_driver/msg/CustomMsg": "livox_ros_driver (xfer_format 0)",
    "livox_interfaces/msg/CustomMsg": "livox_ros2_driver (xfer_format 0)",
}


@dataclass
class BagCheckup:
    """The doctor's findings beside its cameras'.

    Attributes:
        checks: lines of the table.
        uses: what each topic is used for, or why it is not, by topic.
        options: of ``extract``, where the recording leaves a choice.
    """

    checks: list[Check] = field(default_factory=list)
    uses: dict[str, str] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)


def check_bag(
    survey: BagSurvey, base: str, odom: str | None, cameras: Collection[CameraCheckup]
) -> BagCheckup:
    """Look at all but the cameras.

    Args:
        base, odom: frames of the rig.
        cameras: of the rig.
    """
    result = BagCheckup(uses=not_pictures(survey))
    for problem in survey.damage:
        cure = "extract salvages what can be read; to play it, mend it by 'mcap recover'"
        result.checks.append(Check("note", "recording", problem, cure))
    for (_, reason), count in survey.left_out.items():
        cure = "the node that publishes it is to send finite numbers and unit quaternions"
        result.checks.append(Check("note", "transforms", f"{reason} ({count} times)", cure))
    for topic in filter(None, (survey.tf, survey.tf_static)):
        result.uses[topic] = "transforms"
    _motion(survey, base, odom, result)
    _lidar(survey, base, result)
    _boxes(survey, result)
    _labels(survey, cameras, result)
    _truth(survey, result)
    if survey.namespace:
        result.options += ["--namespace", survey.namespace]
        names = ("tf", "tf_static")
        remaps = " ".join(f"-r /{name}:={resolved(name, survey.namespace)}" for name in names)
        observation = f"transforms are those of '{survey.namespace}'"
        cure = f"extract and evaluate take --namespace; start the node with {remaps}"
        result.checks.append(Check("note", "namespace", observation, cure))
    for space in survey.other_robots:
        cure = f"renderocc doctor --bag … --namespace {space} looks at that one"
        observation = f"transforms of its own in /{space}; not read"
        result.checks.append(Check("note", f"robot {space}", observation, cure))
    return result


def _motion(survey: BagSurvey, base: str, odom: str | None, result: BagCheckup) -> None:
    """Whether it is known how the robot moves: by transforms, or by an odometry topic alone."""
    odometries = survey.of_type(ODOMETRY)
    for topic in odometries:
        child = str(getattr(topic.first, "child_frame_id", "?"))
        result.uses[topic.name] = f"odometry of '{child}'; transforms say it as well"
    if odom is None:
        cure = "the node and evaluate work without; extract needs odometry in /tf or on a topic"
        result.checks.append(Check("note", "odometry", "odom_frame is null", cure))
        return
    subject = f"odometry {odom} ← {base}"
    stamps = [stamp for each in survey.images() for stamp in each.stamps_ns]
    try:
        pose_of(survey, odom, base, sorted(stamps))
    except ValueError as error:
        if _linked(survey, odom, base):
            cure = "images before it go into no set"
            result.checks.append(Check("note", subject, f"it begins late: {error}", cure))
            return
        chosen = next((each for each in odometries if each.frame == odom), None)
        chosen = chosen or next(iter(odometries), None)
        if chosen is None:
            cure = "record /tf with odometry; or odom_frame: null in the rig"
            result.checks.append(Check("wrong", subject, str(error), cure))
            return
        result.uses[chosen.name] = "odometry: the ego pose"
        result.options += ["--odometry", chosen.name]
        cure = "extract and evaluate take --odometry; the live node needs it on /tf"
        observation = f"on {chosen.name} alone, in no transform"
        result.checks.append(Check("note", subject, observation, cure))
        return
    result.checks.append(Check("ok", subject, "there"))


def _linked(survey: BagSurvey, target: str, source: str) -> bool:
    """Whether transforms link two frames, at whatever time."""
    try:
        survey.tree.latest_stamp_ns(target, source)
    except ValueError:
        return False
    return True


def _lidar(survey: BagSurvey, base: str, result: BagCheckup) -> None:
    clouds = survey.of_type(CLOUD)
    for topic in survey.topics.values():
        if topic.message_type in RAW_PACKETS:
            driver = RAW_PACKETS[topic.message_type]
            result.uses[topic.name] = f"packets: let {driver} make PointCloud2 of them"
    if not clouds:
        cure = "labels then come from a monocular model: --label-source mono (docs/train.md)"
        result.checks.append(Check("note", "LiDAR", "no PointCloud2 topic", cure))
        return
    chosen = max(clouds, key=_likeness)
    for topic in clouds:
        used = "LiDAR: labels, truth" if topic is chosen else f"a cloud; {chosen.name} is used"
        result.uses[topic.name] = used
    if _is_derived(chosen):
        result.uses[chosen.name] = "a cloud, of no LiDAR by its name or frame"
        result.options += ["--lidar", ""]
        cure = f"if it is one after all, extract with --lidar {chosen.name}"
        result.checks.append(Check("note", "LiDAR", f"{chosen.name} is none by its name", cure))
        return
    if survey.several(CLOUD):
        result.options += ["--lidar", chosen.name]
    result.checks += _scans(survey, base, chosen)
    fields = {entry.name for entry in chosen.first.fields} if chosen.first is not None else set()
    if "label" in fields:
        cure = "use them: labels make --label-source lidar_points"
        result.checks.append(Check("ok", "point labels", f"field 'label' of {chosen.name}", cure))


def _likeness(cloud: SurveyedTopic) -> tuple[bool, int, str]:
    """How much a cloud is like a LiDAR's scans: the largest of what no name or frame speaks
    against."""
    points = 0 if cloud.first is None else int(cloud.first.width) * int(cloud.first.height)
    return not _is_derived(cloud), points, cloud.name


def _is_derived(cloud: SurveyedTopic) -> bool:
    """Whether a cloud is a map, computed, or a depth camera's."""
    words = set(DERIVED) & set(words_of(cloud.name))
    return bool(words) or is_world(cloud.frame) or "optical" in cloud.frame


def _scans(survey: BagSurvey, base: str, cloud: SurveyedTopic) -> Iterator[Check]:
    if cloud.first is None:
        yield Check("note", "LiDAR", f"{cloud.name}: {cloud.problem or 'no message could be read'}")
        return
    points = int(cloud.first.width) * int(cloud.first.height)
    observation = f"{rate(cloud)} on {cloud.name}, {points:,} points in '{cloud.frame}'"
    try:
        pose = pose_of(survey, base, cloud.frame, cloud.stamps_ns)
    except ValueError as error:
        cure = "record /tf_static, or its scans are left out by extract"
        yield Check("note", "LiDAR", f"{observation}: {error}", cure)
        return
    x, y, z = pose.translation
    yield Check("ok", "LiDAR", f"{observation}, at ({x:.2f}, {y:.2f}, {z:.2f}) m")
    delays = [each.delay_ns for each in survey.images() if each.stamps_ns]
    apart_ns = cloud.delay_ns - median_ns(delays) if delays else 0
    if abs(apart_ns) > CLOCKS_AGREE_NS:
        observation = f"its stamps are {abs(apart_ns) * 1e-9:.1f} s off those of the images"
        yield Check(
            "note", "LiDAR", observation, "let all sensors stamp by one clock, such as PTP's"
        )


def _boxes(survey: BagSurvey, result: BagCheckup) -> None:
    topics = survey.of_type(BOXES)
    if not topics:
        cure = "not needed: --semantics segmentation takes classes from a 2D model"
        result.checks.append(Check("note", "boxes", "no Detection3DArray topic", cure))
        return
    chosen = max(topics, key=lambda topic: (topic.topic.count, topic.name))
    for topic in topics:
        used = "boxes: classes of labels" if topic is chosen else f"boxes; {chosen.name} is used"
        result.uses[topic.name] = used
    if survey.several(BOXES):
        result.options += ["--boxes", chosen.name]
    observation = f"{rate(chosen)} on {chosen.name}, in '{chosen.frame}'"
    result.checks.append(Check("ok", "boxes", observation))


def _labels(survey: BagSurvey, cameras: Collection[CameraCheckup], result: BagCheckup) -> None:
    """Depth and class images of the rig's cameras: of their frames and sizes, on topics that differ
    in the camera's name alone."""
    patterns: dict[tuple[str, str], list[str]] = {}
    for picture in pictures(survey):
        kind = {"depth": "depth", "labels": "classes"}.get(picture.kind)
        owner = next((each for each in cameras if _shows(each, picture)), None)
        if kind is None or owner is None:
            continue
        own = owner.config.name.lower()
        parts = picture.topic.name.split("/")
        pattern = "/".join("{camera}" if part == own else part for part in parts)
        if own in parts or len(cameras) == 1:
            patterns.setdefault((kind, pattern), []).append(picture.topic.name)
    for (kind, pattern), names in patterns.items():
        result.uses |= dict.fromkeys(names, f"label images: {kind}")
        result.options += ["--labels", f"{kind}={pattern}"]
        observation = f"{kind} of {len(names)} of {len(cameras)} cameras on {pattern}"
        result.checks.append(Check("ok", "label images", observation))


def _shows(camera: CameraCheckup, picture: Picture) -> bool:
    """Whether a picture has the frame and the size of a camera's images."""
    if camera.images is None or camera.model is None:
        return False
    size = camera.model.width, camera.model.height
    return picture.topic.frame == camera.images.frame and picture.size == size


def _truth(survey: BagSurvey, result: BagCheckup) -> None:
    for topic in survey.of_type(OCCUPANCY):
        is_truth = topic.name == TRUTH_TOPIC
        result.uses[topic.name] = "3D truth" if is_truth else "voxels that are not read"
        if is_truth:
            observation = f"{rate(topic)} on {topic.name}: evaluate scores with it"
            result.checks.append(Check("ok", "3D truth", observation))

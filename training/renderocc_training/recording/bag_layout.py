"""What is what in a recording: which topic feeds which sensor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from pydantic import Field, model_validator

from renderocc_ros.config import TRANSPORT_SUFFIXES, CameraConfig, RigConfig, StrictModel, Transport
from renderocc_ros.rig.video_stream import PACKET
from renderocc_training.recording.bag_reader import Topic

COMPRESSED = "sensor_msgs/msg/CompressedImage"
RAW = "sensor_msgs/msg/Image"
INFO = "sensor_msgs/msg/CameraInfo"
TF, OLD_TF = "tf2_msgs/msg/TFMessage", "tf/msg/tfMessage"  # the second of ROS 1 before tf2
OCCUPANCY = "renderocc_ros/msg/SemanticOccupancy"
ODOMETRY_KINDS = (
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
    "geometry_msgs/msg/TransformStamped",
)
TRUTH_TOPIC = "/ground_truth/occupancy"
IMAGE_KINDS: dict[Transport, str] = {
    "compressed": COMPRESSED,
    "as_named": COMPRESSED,
    "ffmpeg": PACKET,
    "raw": RAW,
}
LABEL_KINDS = ("depth", "classes")


class TopicOptions(StrictModel):
    """Which topics of a recording are read, where it leaves a choice."""

    lidar: str | None = Field(
        None, description="PointCloud2 topic; the only one if not given; empty: none"
    )
    odometry: str | None = Field(
        None,
        description="topic that gives the ego pose: Odometry or a stamped pose; tf if not given",
    )
    boxes: str | None = Field(
        None, description="Detection3DArray topic; the only one if not given; empty: none"
    )
    occupancy: str | None = Field(
        None,
        description="SemanticOccupancy topic with 3D truth; /ground_truth/occupancy if not given; "
        "empty: none",
    )
    labels: tuple[str, ...] = Field(
        (),
        description="label images as KIND=TOPIC, where {camera} stands for the camera's name in "
        "lower case: classes=/ground_truth/{camera}/classes",
    )
    namespace: str = Field("", description="namespace of the rig's relative topics")

    @model_validator(mode="after")
    def _labels_are_pairs(self) -> TopicOptions:
        for entry in self.labels:
            kind, equals, topic = entry.partition("=")
            if not (kind in LABEL_KINDS and equals and topic.startswith("/")):
                raise ValueError(
                    f"labels: '{entry}' is not KIND=/topic with one of the kinds "
                    f"{', '.join(LABEL_KINDS)}"
                )
            if set("{}") & set(topic.replace("{camera}", "")):
                raise ValueError(f"labels: '{entry}': nothing but {{camera}} stands for a name")
        return self


NO_CHOICE = TopicOptions()


@dataclass
class BagLayout:
    """The topics of a recording that are read.

    Attributes:
        rig: the rig, reduced to the cameras that the recording has.
        images: camera by image topic.
        infos: cameras by CameraInfo topic; several may share one.
        labels: (kind, camera) by label topic.
        lidar, odometry, boxes, occupancy, tf, tf_static: topics; None if there is none.
        problems: what the recording lacks, in sentences.
    """

    rig: RigConfig
    images: dict[str, CameraConfig] = field(default_factory=dict)
    infos: dict[str, list[CameraConfig]] = field(default_factory=dict)
    labels: dict[str, tuple[str, str]] = field(default_factory=dict)
    lidar: str | None = None
    odometry: str | None = None
    boxes: str | None = None
    occupancy: str | None = None
    tf: str | None = None
    tf_static: str | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def topics(self) -> list[str]:
        """All topics of images and their poses, but for tf_static, which is read before."""
        single = [topic for topic in (self.tf, self.odometry) if topic]
        return [*single, *self.images, *self.infos]


def find_layout(topics: dict[str, Topic], rig: RigConfig, options: TopicOptions) -> BagLayout:
    """Assign the topics of a recording.

    Raises:
        ValueError: fewer cameras than the rig asks for, or a choice that the recording leaves open.
    """
    layout = BagLayout(rig)
    for camera in rig.cameras:
        _find_camera(layout, camera, topics, options.namespace)
    present = [camera.name for camera in layout.images.values()]
    if len(present) < rig.images_needed:
        raise ValueError(
            f"{len(present)} of {len(rig.names)} cameras, {rig.images_needed} needed: "
            f"{'; '.join(layout.problems)}; the recording has images on {image_topics(topics)}"
        )
    layout.rig = reduced(rig, present)
    layout.lidar = _only(topics, "sensor_msgs/msg/PointCloud2", options.lidar, "lidar")
    layout.boxes = _only(topics, "vision_msgs/msg/Detection3DArray", options.boxes, "boxes")
    layout.occupancy = _truth(topics, options.occupancy)
    _find_poses(layout, topics, options)
    if layout.lidar is None and options.lidar != "":
        layout.problems.append("no LiDAR: no PointCloud2 topic")
    _find_labels(layout, topics, options)
    return layout


def _find_poses(layout: BagLayout, topics: dict[str, Topic], options: TopicOptions) -> None:
    """The namespace's own tf before the robot-wide one, and an odometry that was chosen before."""
    names = [resolved("tf", options.namespace), "/tf"]
    static = [f"{name}_static" for name in names]
    transforms = {name for name, topic in topics.items() if topic.message_type in (TF, OLD_TF)}
    layout.tf = next((name for name in names if name in transforms), None)
    layout.tf_static = next((name for name in static if name in transforms), None)
    layout.odometry = options.odometry
    if options.odometry is None and layout.tf is None:
        layout.odometry = _only(topics, "nav_msgs/msg/Odometry", None, "odometry")
    if options.odometry and options.odometry not in topics:
        raise ValueError(f"odometry: no topic '{options.odometry}' in the recording")
    kind = topics[options.odometry].message_type if options.odometry else ODOMETRY_KINDS[0]
    if kind not in ODOMETRY_KINDS:
        raise ValueError(
            f"odometry: '{options.odometry}' is {kind}; give a topic of one of "
            f"{', '.join(ODOMETRY_KINDS)}"
        )
    elsewhere = sorted(
        topic.name.rpartition("/")[0].strip("/")
        for topic in topics.values()
        if topic.message_type == TF and topic.name not in (*names, *static)
    )
    hint = f"; --namespace {elsewhere[0]} has its own" if elsewhere else ""
    if layout.odometry is None and layout.tf is None:
        layout.problems.append(f"no ego poses: neither {names[0]} nor an Odometry topic{hint}")
    if layout.tf_static is None:
        layout.problems.append(
            f"no {static[0]}: where the sensors are mounted must be in {names[0]}, or as 'mount' "
            f"in the rig file{hint}"
        )


def reduced(rig: RigConfig, names: Collection[str]) -> RigConfig:
    """The rig with these cameras only; offsets stay relative to the same moment."""
    cameras = [camera for camera in rig.cameras if camera.name in names]
    reference = rig.reference_name if rig.reference_name in names else cameras[0].name
    return rig.model_copy(update={"cameras": tuple(cameras), "reference": reference})


def image_topic_of(
    camera: CameraConfig, topics: dict[str, Topic], namespace: str = ""
) -> str | None:
    """Where a camera's images are: the configured kind of image first, then the others."""
    plain = resolved(camera.image_topic, namespace)
    transports = sorted(IMAGE_KINDS, key=lambda transport: transport != camera.transport)
    names = [(plain + TRANSPORT_SUFFIXES[each], IMAGE_KINDS[each]) for each in transports]
    return next(
        (
            name
            for name, kind in names
            if name in topics and topics[name].message_type == kind and topics[name].count
        ),
        None,
    )


def _find_camera(
    layout: BagLayout, camera: CameraConfig, topics: dict[str, Topic], namespace: str
) -> None:
    image = image_topic_of(camera, topics, namespace)
    if image is None:
        plain = resolved(camera.image_topic, namespace)
        layout.problems.append(f"{camera.name}: no images on {plain}{_unread(topics, plain)}")
        return
    if camera.mount is not None:
        layout.problems.append(f"{camera.name}: mounted as the rig file says")
    if camera.calibration is not None:
        layout.problems.append(f"{camera.name}: calibrated by the rig file")
        layout.images[image] = camera
        return
    info = resolved(camera.camera_info_topic, namespace)
    if info not in topics or not topics[info].count or topics[info].message_type != INFO:
        layout.problems.append(
            f"{camera.name}: no CameraInfo on {info}; its images are left out: name its info_topic "
            "or the file of its calibration in the rig file"
        )
        return
    layout.images[image] = camera
    layout.infos.setdefault(info, []).append(camera)


def _unread(topics: dict[str, Topic], plain: str) -> str:
    """What a camera sends in messages that are not read, such as those of other transports."""
    other = sorted(
        f"{topic.name} ({topic.message_type})"
        for topic in topics.values()
        if (topic.name == plain or topic.name.startswith(f"{plain}/")) and topic.count
    )
    kinds = ", ".join(sorted({kind.rpartition("/")[2] for kind in IMAGE_KINDS.values()}))
    return f"; what is on {', '.join(other)} is none of {kinds}" if other else ""


def resolved(topic: str, namespace: str) -> str:
    """The full name of a topic that a rig may name relative to the node's namespace."""
    if topic.startswith("/"):
        return topic
    return "/" + "/".join(filter(None, (namespace.strip("/"), topic)))


def image_topics(topics: dict[str, Topic]) -> str:
    """Where a recording has images, in words."""
    kinds = IMAGE_KINDS.values()
    candidates = sorted(t.name for t in topics.values() if t.message_type in kinds and t.count)
    return ", ".join(candidates) or "no topic"


def _only(topics: dict[str, Topic], kind: str, chosen: str | None, key: str) -> str | None:
    """The chosen topic, or the only one of this kind."""
    candidates = sorted(topic.name for topic in topics.values() if topic.message_type == kind)
    if chosen is not None:
        if chosen and chosen not in candidates:
            raise ValueError(
                f"{key}: no {kind} on '{chosen}'; there is {', '.join(candidates) or 'none'}"
            )
        return chosen or None
    if len(candidates) > 1:
        raise ValueError(f"{key}: choose one of {', '.join(candidates)}, or '' for none")
    return candidates[0] if candidates else None


def _truth(topics: dict[str, Topic], chosen: str | None) -> str | None:
    """The chosen topic, or the usual one: a live node's own output is of the same type."""
    candidates = [t.name for t in topics.values() if t.message_type == OCCUPANCY]
    if chosen and chosen not in candidates:
        raise ValueError(
            f"occupancy: no {OCCUPANCY} on '{chosen}'; there is {', '.join(candidates) or 'none'}"
        )
    usual = TRUTH_TOPIC if TRUTH_TOPIC in candidates else None
    return usual if chosen is None else chosen or None


def _find_labels(layout: BagLayout, topics: dict[str, Topic], options: TopicOptions) -> None:
    for entry in options.labels:
        kind, _, pattern = entry.partition("=")
        for camera in layout.images.values():
            topic = pattern.replace("{camera}", camera.name.lower())
            if topic in layout.labels:
                _, other = layout.labels[topic]
                raise ValueError(
                    f"labels: {topic} cannot be of both {other} and {camera.name}: write "
                    "{camera} where their names stand in the topics"
                )
            if topic in topics and topics[topic].message_type in (RAW, COMPRESSED):
                layout.labels[topic] = (kind, camera.name)
            else:
                layout.problems.append(
                    f"{camera.name}: no label images '{kind}' on {topic}; images are on "
                    f"{image_topics(topics)}"
                )

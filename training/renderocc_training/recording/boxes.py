"""Annotated boxes as messages: Detection3DArray for programs, MarkerArray for rviz2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_training.recording import messages
from renderocc_training.recording.message_content import pose_of
from renderocc_training.recording.messages import Message

MARKER_LIFETIME_NS = 700_000_000  # longer than the gap between key frames
COLOURS = {
    "human": (220, 20, 60),
    "vehicle.bicycle": (255, 61, 99),
    "vehicle.motorcycle": (255, 61, 99),
    "vehicle": (255, 158, 0),
    "movable_object": (112, 128, 144),
    "animal": (70, 130, 180),
}
OTHER_COLOUR = (190, 190, 190)
CUBE, TEXT = 1, 9  # visualization_msgs/Marker types


@dataclass(frozen=True, eq=False)
class Box:
    """One annotated object at one key frame.

    Attributes:
        instance: token of the object, the same in all key frames.
        attributes: such as "vehicle.parked".
        visibility: such as "v80-100": how much of it the cameras see, percent.
        map_from_box: centre and heading, the box's x axis points forward.
        size_m: length, width, height (along the box's x, y, z).
        velocity_m_s: (3,) in the map frame; NaN where it has no neighbour in time.
    """

    category: str
    instance: str
    attributes: tuple[str, ...]
    visibility: str
    map_from_box: RigidTransform
    size_m: tuple[float, float, float]
    velocity_m_s: NDArray[np.float64]


def detections(stamp_ns: int, frame_id: str, boxes: Sequence[Box]) -> Message:
    """vision_msgs/Detection3DArray, lossless.

    A detection's ``id`` is the instance's token. Its first hypothesis is the category; the others,
    with score 1 too, are ``attribute:<name>`` and ``visibility:<level>``.
    """
    header = messages.header(stamp_ns, frame_id)
    return messages.make(
        "vision_msgs/msg/Detection3DArray",
        header=header,
        detections=[_detection(header, box) for box in boxes],
    )


def markers(
    stamp_ns: int, frame_id: str, boxes: Sequence[Box], numbers: Mapping[str, int]
) -> Message:
    """visualization_msgs/MarkerArray: a box, and above it category and speed.

    Args:
        numbers: marker id of every instance token.
    """
    header = messages.header(stamp_ns, frame_id)
    array = []
    for box in boxes:
        speed = float(np.linalg.norm(box.velocity_m_s))
        text = box.category if np.isnan(speed) else f"{box.category}\n{speed:.1f} m/s"
        pose = messages.pose(box.map_from_box)
        above = box.map_from_box.apply([0.0, 0.0, box.size_m[2] / 2 + 0.5])
        beyond = replace(pose, position=messages.point(above))
        for namespace, kind, where, scale, alpha, shown in (
            (box.category, CUBE, pose, box.size_m, 0.5, ""),
            (f"{box.category}/text", TEXT, beyond, (0, 0, 0.5), 1.0, text),
        ):
            marker = copy(_plain_marker())
            marker.header, marker.ns, marker.id = header, namespace, numbers[box.instance]
            marker.type, marker.pose, marker.scale = kind, where, messages.vector(scale)
            marker.color, marker.text = _colour(box.category, alpha), shown
            array.append(marker)
    return messages.make("visualization_msgs/msg/MarkerArray", markers=array)


def _detection(header: Message, box: Box) -> Message:
    names = [box.category, *(f"attribute:{name}" for name in box.attributes)]
    if box.visibility:
        names.append(f"visibility:{box.visibility}")
    pose = messages.pose(box.map_from_box)
    with_covariance = messages.make(
        "geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)
    )
    results = [
        messages.make(
            "vision_msgs/msg/ObjectHypothesisWithPose",
            hypothesis=messages.make("vision_msgs/msg/ObjectHypothesis", class_id=name, score=1.0),
            pose=with_covariance,
        )
        for name in names
    ]
    return messages.make(
        "vision_msgs/msg/Detection3D",
        header=header,
        results=results,
        bbox=messages.make(
            "vision_msgs/msg/BoundingBox3D", center=pose, size=messages.vector(box.size_m)
        ),
        id=box.instance,
    )


@cache
def _plain_marker() -> Message:
    """A marker that replaces the one of the same namespace and id; to be copied and filled in."""
    lifetime = messages.make("builtin_interfaces/msg/Duration", sec=0, nanosec=MARKER_LIFETIME_NS)
    mesh = messages.make("visualization_msgs/msg/MeshFile", filename="", data=np.zeros(0, np.uint8))
    return messages.make(
        "visualization_msgs/msg/Marker",
        header=messages.header(0, ""),
        ns="",
        id=0,
        type=CUBE,
        action=0,
        pose=messages.pose(RigidTransform.identity()),
        scale=messages.vector((0, 0, 0)),
        color=messages.colour(OTHER_COLOUR),
        lifetime=lifetime,
        frame_locked=False,
        points=[],
        colors=[],
        texture_resource="",
        texture=messages.compressed_image(0, "", b"", ""),
        uv_coordinates=[],
        text="",
        mesh_resource="",
        mesh_file=mesh,
        mesh_use_embedded_materials=False,
    )


@cache
def _colour(category: str, alpha: float) -> Message:
    matching = [prefix for prefix in COLOURS if category.startswith(prefix)]
    rgb = COLOURS[max(matching, key=len)] if matching else OTHER_COLOUR
    return messages.colour(rgb, alpha)


def boxes_of(array: Message) -> list[Box]:
    """The boxes of a Detection3DArray, in its own frame; the way back from :func:`detections`.

    Of other programs' detections the likeliest hypothesis is the category.

    Raises:
        ValueError: a detection without any hypothesis.
    """
    return [_box_of(number, detection) for number, detection in enumerate(array.detections)]


def _box_of(number: int, detection: Message) -> Box:
    names = [result.hypothesis.class_id for result in detection.results]
    plain = [
        result
        for result in detection.results
        if not result.hypothesis.class_id.startswith(("attribute:", "visibility:"))
    ]
    if not plain:
        raise ValueError(f"detection {number} has no hypothesis")
    size = detection.bbox.size
    return Box(
        max(plain, key=lambda result: result.hypothesis.score).hypothesis.class_id,
        detection.id or f"untracked {number}",
        tuple(name.partition(":")[2] for name in names if name.startswith("attribute:")),
        next((n.partition(":")[2] for n in names if n.startswith("visibility:")), ""),
        pose_of(detection.bbox.center),
        (size.x, size.y, size.z),
        np.full(3, np.nan),
    )

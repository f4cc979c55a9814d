"""The checker of the campaign knows right results, mixed sets, wrong poses and wrong pictures."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from sensor_msgs.msg import CompressedImage

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.occupancy.messages import to_message
from renderocc_ros.occupancy.ros_messages import make, to_time
from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from tests.faults.checker import Checker, Verdict
from tests.node import robot as robots
from tests.node.expected import sent_set
from tests.node.live import NETWORK

pytestmark = pytest.mark.ros
START_NS = 1_700_000_000_000_000_000
OFFSETS_NS = dict(zip(robots.NAMES, (0, 5_000_000, 10_000_000), strict=True))


def image(name: str, number: int) -> CompressedImage:
    bgr = cv2.cvtColor(robots.test_image(name, number), cv2.COLOR_RGB2BGR)
    message = CompressedImage(
        format="jpeg", data=array("B", cv2.imencode(".jpg", bgr)[1].tobytes())
    )
    message.header.stamp = to_time(START_NS + number * 100_000_000 + OFFSETS_NS[name])
    return message


@pytest.fixture(scope="module")
def sent() -> list[robots.SentSet]:
    """Three cycles at 10 Hz."""
    return [
        robots.SentSet(
            START_NS + number * 100_000_000,
            number * 0.1,
            {name: image(name, number) for name in robots.NAMES},
        )
        for number in range(3)
    ]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_preset(NETWORK, threads=1)


def moved(posed: PosedImage, metres: float) -> PosedImage:
    aside = RigidTransform(np.eye(3), np.array([metres, 0.0, 0.0]))
    return replace(posed, ego_from_camera=aside @ posed.ego_from_camera)


def as_sent(images: list[Any]) -> list[Any]:
    return images


def camera_missing(images: list[Any]) -> list[Any]:
    return [None, *images[1:]]


def camera_3_cm_off(images: list[Any]) -> list[Any]:
    return [images[0], moved(images[1], 0.03), images[2]]


def mounts_exchanged(images: list[Any]) -> list[Any]:
    first, second, third = images
    return [
        replace(first, ego_from_camera=second.ego_from_camera),
        replace(second, ego_from_camera=first.ego_from_camera),
        third,
    ]


def another_focal_length(images: list[Any]) -> list[Any]:
    model = images[0].model
    longer = replace(model, intrinsics=np.diag([1.1, 1.1, 1.0]) @ model.intrinsics)
    return [replace(images[0], model=longer), *images[1:]]


@pytest.mark.parametrize(
    ("change", "cycles", "verdict"),
    [
        (as_sent, (1, 1, 1), Verdict.RIGHT),
        (camera_missing, (2, 2, 2), Verdict.RIGHT),
        (as_sent, (1, 0, 1), Verdict.MIXED),
        (camera_3_cm_off, (1, 1, 1), Verdict.WRONG),
        (mounts_exchanged, (1, 1, 1), Verdict.WRONG),
        (another_focal_length, (1, 1, 1), Verdict.WRONG),
    ],
)
def test_verdict_on_results_of_known_faults(
    sent: list[robots.SentSet],
    predictor: Predictor,
    change: Callable[[list[Any]], list[Any]],
    cycles: tuple[int, ...],
    verdict: Verdict,
) -> None:
    stamp_ns = sent[cycles[0]].stamp_ns
    pairs = zip(robots.NAMES, cycles, strict=True)
    images = {name: sent[cycle].images[name] for name, cycle in pairs}
    cameras = sent_set(stamp_ns, images, START_NS, predictor.preprocessor.reduction)
    checker = Checker(START_NS)
    assert checker.verdict(published(predictor, replaced(cameras, change)), sent) is verdict


def test_picture_of_another_cycle_under_the_stamp_of_this_one_is_wrong(
    sent: list[robots.SentSet], predictor: Predictor
) -> None:
    cycle = sent[1]
    old = image("left", 1)
    old.data = sent[0].images["left"].data
    cameras = sent_set(
        cycle.stamp_ns, {**cycle.images, "left": old}, START_NS, predictor.preprocessor.reduction
    )
    assert Checker(START_NS).verdict(published(predictor, cameras), sent) is Verdict.WRONG


def test_where_stamps_stand_the_pictures_tell_the_cycles(
    sent: list[robots.SentSet], predictor: Predictor
) -> None:
    """All images of a camera carry one stamp: those of two cycles are mixed all the same."""
    stamp = sent[0].images["left"].header.stamp
    standing = []
    for number, cycle in enumerate(sent):
        left = image("left", number)
        left.header.stamp = stamp
        standing.append(replace(cycle, images={**cycle.images, "left": left}))
    for number, verdict in ((2, Verdict.RIGHT), (1, Verdict.MIXED)):
        images = {**standing[2].images, "left": standing[number].images["left"]}
        cameras = sent_set(sent[2].stamp_ns, images, START_NS, predictor.preprocessor.reduction)
        checker = Checker(START_NS)
        assert checker.verdict(published(predictor, cameras), standing) is verdict


def replaced(cameras: CameraSet, change: Callable[[list[Any]], list[Any]]) -> CameraSet:
    return replace(cameras, images=tuple(change(list(cameras.images))))


def published(predictor: Predictor, cameras: CameraSet) -> Any:
    """The message that the node would send."""
    stamps_ns = {each.name: each.stamp_ns for each in cameras.images if each is not None}
    return to_message(make, predictor.predict(cameras), "base_link", stamps_ns, cameras.missing)

"""What of a running rig arrives: images, calibration and transforms of every camera."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from tf2_ros import Buffer, TransformListener

from renderocc_ros.config import RigConfig
from renderocc_ros.node.camera_input import ArrivedImage, CameraInput
from renderocc_ros.node.transforms import TransformMissing, TransformReader
from renderocc_ros.rig.checkup import Check, calibration_check, mount_check
from renderocc_ros.rig.image_decoding import decode_for


def check_rig(rig: RigConfig, seconds: float) -> list[Check]:
    """Listen to a rig for some seconds and say what came."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("renderocc_doctor", context=context)
    try:
        return list(_checked(node, rig, seconds))
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _checked(node: Any, rig: RigConfig, seconds: float) -> Iterator[Check]:
    buffer = Buffer()
    listener = TransformListener(buffer, node, spin_thread=False)
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    last: dict[str, ArrivedImage] = {}
    cameras = []
    for config in rig.cameras:
        camera = CameraInput(node, config, qos, lambda name, reason: None)
        camera.registerCallback(lambda image, name=config.name: last.update({name: image}))
        cameras.append(camera)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline_s = time.monotonic() + seconds
    while (remaining_s := deadline_s - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=remaining_s)
    reader = TransformReader(buffer, rig.base_frame, rig.odom_frame, rig.mounts)
    if rig.odom_frame is not None:
        yield _odometry(reader, rig, last)
    for camera in cameras:
        yield from _camera(camera, last.get(camera.config.name), reader, rig.base_frame)
    listener.unregister()
    executor.shutdown()


def _odometry(reader: TransformReader, rig: RigConfig, last: dict[str, ArrivedImage]) -> Check:
    subject = f"odometry {rig.odom_frame} ← {rig.base_frame}"
    stamps = [image.stamp_ns for image in last.values()]
    # The newest image may be ahead of odometry by a moment: ask for the oldest of the last ones.
    try:
        reader.lookup(str(rig.odom_frame), rig.base_frame, min(stamps, default=0))
    except TransformMissing as problem:
        cure = "start odometry; on a robot without it, set odom_frame: null in the rig"
        return Check("wrong", subject, str(problem), cure)
    return Check("ok", subject, "there")


def _camera(
    camera: CameraInput, image: ArrivedImage | None, reader: TransformReader, base_frame: str
) -> Iterator[Check]:
    name = camera.config.name
    if image is None:
        cure = "start the driver, or correct image_topic in the rig"
        yield Check("wrong", f"{name}: images", camera.silence(), cure)
    else:
        offered = {
            publisher.qos_profile.reliability.name.lower() for publisher in camera.publishers()
        }
        observation = (
            f"{camera.arrivals.rate_hz:.1f} Hz on {camera.topic}, {', '.join(sorted(offered))}"
        )
        yield Check("ok", f"{name}: images", observation)
    yield _calibration(camera, image)
    frame = image.frame if image is not None else camera.config.frame
    subject = f"{name}: transform {base_frame} ← {frame or '?'}"
    if not frame:
        cure = "start the driver, or name the frame in the rig"
        yield Check("wrong", subject, "no image came to name its frame", cure)
        return
    try:
        pose = reader.lookup(base_frame, frame, image.stamp_ns if image is not None else 0)
    except TransformMissing as problem:
        cure = "publish the camera's pose on /tf_static, or correct frame in the rig"
        yield Check("wrong", subject, str(problem), cure)
        return
    yield mount_check(subject, pose)


def _calibration(camera: CameraInput, image: ArrivedImage | None) -> Check:
    subject = f"{camera.config.name}: calibration"
    if camera.info_problem:
        return Check("wrong", subject, camera.info_problem, "calibrate the camera")
    if camera.model is None:
        cure = "load the calibration into the driver, or set info_topic or calibration in the rig"
        return Check("wrong", subject, camera.info_silence(), cure)
    try:
        model = camera.model
        if image is not None:
            _, model = decode_for(image.message(), model, lambda _: 1)
    except ValueError as error:
        return Check("wrong", subject, str(error), "compare image and CameraInfo")
    return calibration_check(camera.config.name, model)

"""The live node beside an ordinary one: CPU and latency, over real DDS, without inference.

A robot of six 1600x900 JPEG cameras at 12 Hz drives; the node under test is a process of its own.
Its images come as the rig's cameras fire, one after another over 43 ms, or all at once. One JSON
object a line: latency from the last image sent to the cloud received in each window of 5 s, beside
what everybody else on the machine used then (100 is one core); per node CPU milliseconds per set,
sets published of those sent, and our node's own account of each stage; then the ratio; then the
outputs alone.

    ./run bench node                  some minutes, both nodes
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import rclpy
import typer
from _node_roles import OrdinaryNode, fixed_result
from _process import cpu_of, cpu_of_others
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from renderocc_ros.config import load_rig
from renderocc_ros.node.image_messages import peek_header
from renderocc_ros.occupancy.markers import to_marker_bytes
from renderocc_ros.occupancy.ros_messages import to_cloud, to_header, to_time

RATE_HZ = 12.0
WIDTH, HEIGHT = 1600, 900
RIG = load_rig("nuscenes")
ROLES = Path(__file__).with_name("_node_roles.py")
WARM_UP_S, WINDOW_S = 5.0, 5.0


def main(
    seconds: Annotated[float, typer.Option(help="measured, per node and way of sending")] = 20.0,
) -> None:
    """Measure and print."""
    rclpy.init()
    measure("ours", "/renderocc", seconds, at_once=True)
    ours = measure("ours", "/renderocc", seconds)
    ordinary = measure("ordinary", "/ordinary", seconds)
    say(
        what="whole node without inference, ordinary / ours",
        cpu_ratio=round(ordinary["cpu_ms_per_set"] / ours["cpu_ms_per_set"], 2),
    )
    measure_outputs()


def say(**values: Any) -> None:
    """One line."""
    print(json.dumps(values), flush=True)


class Robot:
    """Publishes six cameras in a thread, and notes when the last image of each cycle went out.

    Args:
        watched: full name of the node under test.
        at_once: all images of a cycle together, not each when its camera fires.

    Attributes:
        sent_s: time of the last image by the stamp of the reference camera.
        latencies_ms: of the clouds that came back.
        said: the last diagnostics: values by part.
    """

    def __init__(self, watched: str, at_once: bool) -> None:
        self.node, self.at_once = rclpy.create_node("bench_robot"), at_once
        self.sent_s: dict[int, float] = {}
        self.latencies_ms: list[float] = []
        self.said: dict[str, dict[str, str]] = {}
        self.images = {
            camera.name: self.node.create_publisher(
                CompressedImage, f"{camera.image_topic}/compressed", 10
            )
            for camera in RIG.cameras
        }
        self.infos = {
            camera.name: self.node.create_publisher(CameraInfo, camera.camera_info_topic, 10)
            for camera in RIG.cameras
        }
        self.tf = self.node.create_publisher(TFMessage, "/tf", 100)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        frames = [str(camera.frame) for camera in RIG.cameras]
        self.tf_static.publish(TFMessage(transforms=[transform("base_link", f, 0) for f in frames]))
        self.node.create_subscription(PointCloud2, f"{watched}/points", self.on_cloud, 10, raw=True)
        self.node.create_subscription(
            MarkerArray, f"{watched}/markers", lambda _: None, 10, raw=True
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, 10)
        self.jpeg = array("B", street_like_jpeg())
        self.stop = threading.Event()

    def on_cloud(self, serialised: bytes) -> None:
        now_s, (stamp_ns, _) = time.perf_counter(), peek_header(serialised)
        recent = list(self.sent_s.items())[-24:]  # a copy: the other thread adds to it meanwhile
        sent_s = min((s for stamp, s in recent if abs(stamp - stamp_ns) < 40_000_000), default=None)
        if sent_s is not None:
            self.latencies_ms.append((now_s - sent_s) * 1e3)

    def on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            part = status.name.partition(": ")[2]
            self.said[part] = {pair.key: pair.value for pair in status.values}

    def drive(self) -> None:
        """Until stopped."""
        offset_s = {camera.name: (camera.offset_ms or 0.0) * 1e-3 for camera in RIG.cameras}
        first_s = min(offset_s.values())
        due_s = time.perf_counter()
        while not self.stop.wait(max(0.0, due_s - time.perf_counter())):
            now_ns = time.time_ns() - round(first_s * 1e9)  # when the reference camera fires
            odometry = [transform("odom", "base_link", now_ns + d) for d in (-(10**8), 0, 10**8)]
            self.tf.publish(TFMessage(transforms=odometry))
            for camera in sorted(RIG.cameras, key=lambda camera: offset_s[camera.name]):
                if not self.at_once:
                    fires_s = due_s + offset_s[camera.name] - first_s
                    self.stop.wait(max(0.0, fires_s - time.perf_counter()))
                stamp_ns = now_ns + round(offset_s[camera.name] * 1e9)
                self.infos[camera.name].publish(camera_info(camera.frame, stamp_ns))
                image = CompressedImage(format="jpeg")
                image.header.stamp, image.header.frame_id = to_time(stamp_ns), str(camera.frame)
                image.data = self.jpeg
                self.images[camera.name].publish(image)
            self.sent_s[now_ns] = time.perf_counter()
            due_s += 1 / RATE_HZ


def measure(role: str, watched: str, seconds: float, at_once: bool = False) -> dict[str, Any]:
    """CPU per set, latency and share of sets of one node."""
    what = f"{role} node, images {'all at once' if at_once else 'as the cameras fire'}"
    with running(role, watched, at_once) as (robot, process):
        wait_for(lambda: len(robot.latencies_ms) > 3)
        time.sleep(WARM_UP_S)
        cpu_s, clouds, sent = cpu_of(process.pid), len(robot.latencies_ms), len(robot.sent_s)
        for _ in range(max(1, round(seconds / WINDOW_S))):
            others_s, before = cpu_of_others(process.pid), len(robot.latencies_ms)
            time.sleep(WINDOW_S)
            others_s = cpu_of_others(process.pid) - others_s
            window = percentiles(robot.latencies_ms[before:])
            say(what=f"{what}, {WINDOW_S:.0f} s", others=round(100 * others_s / WINDOW_S), **window)
        cpu_s = cpu_of(process.pid) - cpu_s
        latencies_ms = robot.latencies_ms[clouds:]
        sent = len(robot.sent_s) - sent
    result = {
        "cpu_ms_per_set": round(cpu_s * 1e3 / max(len(latencies_ms), 1), 2),
        "sets_sent": sent,
        "sets_published": len(latencies_ms),
        **percentiles(latencies_ms),
    }
    say(what=what, **result, stages=robot.said.get("latency", {}))
    return result


def percentiles(latencies_ms: list[float]) -> dict[str, float]:
    """Of some latencies; none if there are none."""
    return {
        f"latency_ms_p{q}": round(float(np.percentile(latencies_ms, q)), 2)
        for q in (50, 95)
        if latencies_ms
    }


def measure_outputs() -> None:
    """Building and serialising 40,000 voxels as cloud and as markers."""
    fixed, ordinary = fixed_result(), OrdinaryNode()
    cells = np.argwhere(fixed.occupied)
    centres, header = fixed.grid.centres(cells), to_header(0, "base_link")
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "points": (
            lambda: serialize_message(to_cloud(fixed, "base_link")),
            lambda: serialize_message(ordinary.cloud(header, centres, cells)),
        ),
        "markers": (
            lambda: to_marker_bytes(fixed, "base_link", 10**6),
            lambda: serialize_message(ordinary.cubes(header, centres, cells)),
        ),
    }
    for name, (ours, plain) in pairs.items():
        ours_ms, plain_ms = cpu_ms(ours, 20), cpu_ms(plain, 3)
        say(
            what=f"output {name}",
            ours_ms=round(ours_ms, 2),
            ordinary_ms=round(plain_ms, 1),
            ratio=round(plain_ms / ours_ms, 1),
        )


@contextmanager
def running(
    role: str, watched: str, at_once: bool
) -> Iterator[tuple[Robot, subprocess.Popen[bytes]]]:
    """A robot and a node process."""
    robot = Robot(watched, at_once)
    executor = SingleThreadedExecutor()
    executor.add_node(robot.node)

    def spin() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    threads = [threading.Thread(target=work, daemon=True) for work in (spin, robot.drive)]
    process = subprocess.Popen([sys.executable, str(ROLES), role])
    try:
        for thread in threads:
            thread.start()
        yield robot, process
    finally:
        robot.stop.set()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        executor.shutdown()
        for thread in threads:
            if thread.is_alive():
                thread.join(5)
        robot.node.destroy_node()


def wait_for(condition: Callable[[], bool]) -> None:
    """Poll: the other side is another process."""
    deadline_s = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline_s:
            raise SystemExit("the node under test published nothing within a minute")
        time.sleep(0.1)


def transform(parent: str, child: str, stamp_ns: int) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, to_time(stamp_ns)
    message.transform.rotation.w = 1.0
    return message


def camera_info(frame: str | None, stamp_ns: int) -> CameraInfo:
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.stamp, info.header.frame_id = to_time(stamp_ns), str(frame)
    info.k = [1266.0, 0.0, 800.0, 0.0, 1266.0, 450.0, 0.0, 0.0, 1.0]
    return info


def street_like_jpeg() -> bytes:
    """A JPEG of the size and about the bytes (150 kB) of a camera's."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (60, 107, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    noise = draw.normal(0, 4, picture.shape)
    picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes())


def cpu_ms(work: Callable[[], Any], repeats: int) -> float:
    """CPU milliseconds of one call, the first one apart."""
    work()
    start_s = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start_s) / repeats * 1e3


if __name__ == "__main__":
    typer.run(main)

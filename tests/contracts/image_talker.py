"""One end of test_loopback.py: `image_talker.py publish|subscribe TOPIC COUNT`.

It prints one JSON object. Both ends report the local addresses of their process' IP sockets.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from array import array
from pathlib import Path

import numpy as np
import rclpy
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
PERIOD_S = 0.1
SHAPE = (1200, 1200, 3)  # 4.3 MB


def pixels(number: int) -> np.ndarray:
    """The image with this number: noise, so that no mix of two images passes for one."""
    return np.random.default_rng(number).integers(0, 256, SHAPE, dtype=np.uint8)


def publish(topic: str, count: int) -> dict[str, object]:
    """Send the images once somebody listens."""
    node = rclpy.create_node("image_talker")
    listened = rclpy.task.Future()

    def matched(info: object) -> None:
        if info.current_count > 0 and not listened.done():  # type: ignore[attr-defined]
            listened.set_result(True)

    events = PublisherEventCallbacks(matched=matched)
    publisher = node.create_publisher(Image, topic, QOS, event_callbacks=events)
    rclpy.spin_until_future_complete(node, listened, timeout_sec=30)
    messages = []
    for number in range(count):
        message = Image(height=SHAPE[0], width=SHAPE[1], step=3 * SHAPE[1], encoding="rgb8")
        message.header.frame_id = str(number)
        message.data = array("B", pixels(number).tobytes())
        messages.append(message)
    sent = rclpy.task.Future()

    def send() -> None:
        if messages:
            publisher.publish(messages.pop(0))
        elif not sent.done():
            sent.set_result(True)

    node.create_timer(PERIOD_S, send)
    rclpy.spin_until_future_complete(node, sent, timeout_sec=60)
    return {"matched": listened.done(), "sockets": local_addresses()}


def subscribe(topic: str, count: int) -> dict[str, object]:
    """Take images until the last one is there, or none has come for a while."""
    node = rclpy.create_node("image_listener")
    intact: list[int] = []
    broken: list[int] = []
    last = rclpy.task.Future()

    def receive(message: Image) -> None:
        number = int(message.header.frame_id)
        same = np.array_equal(np.frombuffer(message.data, np.uint8).reshape(SHAPE), pixels(number))
        (intact if same else broken).append(number)
        if number == count - 1:
            last.set_result(True)

    node.create_subscription(Image, topic, receive, QOS)
    rclpy.spin_until_future_complete(node, last, timeout_sec=30)
    return {"intact": intact, "broken": broken, "sockets": local_addresses()}


def local_addresses() -> list[str]:
    """Local IP addresses of this process' open sockets, from /proc."""
    mine = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            mine.add(os.readlink(descriptor))
        except OSError:
            continue  # closed since it was listed
    addresses = []
    for table in ("udp", "udp6", "tcp", "tcp6"):
        path = Path("/proc/net", table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if f"socket:[{fields[9]}]" in mine:
                addresses.append(f"{table} {_address(fields[1].split(':')[0])}")
    return sorted(set(addresses))


def _address(hexadecimal: str) -> str:
    numbers = struct.unpack(f"<{len(hexadecimal) // 8}I", bytes.fromhex(hexadecimal))
    packed = struct.pack(f">{len(numbers)}I", *numbers)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


if __name__ == "__main__":
    role, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rclpy.init()
    print(json.dumps((publish if role == "publish" else subscribe)(topic, count)), flush=True)
    rclpy.shutdown()

"""Waiting for transforms, over threads, clocks and DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

tf2_ros = pytest.importorskip(
    "tf2_ros", reason="needs tf2_ros: ./run sets it up, or source a ROS 2"
)

import rclpy  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from rclpy.clock import ROSClock  # noqa: E402
from rclpy.duration import Duration  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.task import Future  # noqa: E402
from rclpy.time import Time  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from tf2_msgs.srv import FrameGraph  # noqa: E402

S = 1_000_000_000
DRIVE_START_NS = 100 * S  # as talkers.py


def transform(parent: str, child: str, stamp_ns: int, x_m: float = 0.0) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
    message.transform.translation.x = x_m
    message.transform.rotation.w = 1.0
    return message


def test_a_timeout_waits_for_what_another_thread_brings() -> None:
    buffer = tf2_ros.Buffer()
    asked = threading.Event()

    def bring() -> None:
        asked.wait(10.0)
        buffer.set_transform(transform("a", "b", S, 4.0), "me")

    thread = threading.Thread(target=bring)
    thread.start()
    asked.set()
    answer = buffer.lookup_transform("a", "b", Time(seconds=1), timeout=Duration(seconds=10))
    thread.join()
    assert answer.transform.translation.x == 4.0


def test_a_timeout_ends_with_the_error_of_the_lookup() -> None:
    buffer = tf2_ros.Buffer()
    buffer.set_transform(transform("a", "b", S), "me")
    start_s = time.monotonic()
    with pytest.raises(tf2_ros.LookupException, match='"nowhere"'):
        buffer.lookup_transform("a", "nowhere", Time(), timeout=Duration(seconds=0.2))
    assert time.monotonic() - start_s >= 0.2
    assert not buffer.can_transform("a", "nowhere", Time(), timeout=Duration(seconds=0.05))


def test_a_future_is_done_with_the_transform_it_waits_for() -> None:
    buffer = tf2_ros.Buffer()
    waiting = buffer.wait_for_transform_async("a", "c", Time(seconds=1))
    buffer.set_transform(transform("a", "b", S), "me")
    assert not waiting.done()
    buffer.set_transform_static(transform("b", "c", 0), "me")
    assert waiting.done()
    assert waiting.result()
    at_once = buffer.wait_for_transform_async("a", "c", Time(seconds=1))
    assert at_once.done()
    later = buffer.wait_for_transform_full_async("a", Time(seconds=2), "c", Time(seconds=1), "a")
    assert later.done()  # a at two times, through itself


def test_lookups_can_be_awaited(node: Node, spin: Callable[[Future], Any]) -> None:
    buffer = tf2_ros.Buffer()
    lookup = buffer.lookup_transform_async("a", "b", Time(seconds=1))
    task = rclpy.get_global_executor().create_task(lookup)
    node.create_timer(0.05, lambda: buffer.set_transform(transform("a", "b", S, 2.0), "me"))
    assert spin(task).transform.translation.x == 2.0


def test_one_may_write_while_others_read() -> None:
    buffer = tf2_ros.Buffer()
    buffer.set_transform(transform("a", "b", S, 1.0), "me")
    buffer.set_transform(transform("a", "b", 2 * S, 2.0), "me")
    done = threading.Event()
    wrong: list[Any] = []

    def read() -> None:
        while not done.is_set():
            try:
                answer = buffer.lookup_transform("a", "b", Time())
            except tf2_ros.TransformException as error:
                wrong.append(error)
                return
            x_s = answer.transform.translation.x  # the pose is as many metres along as seconds
            if x_s != pytest.approx(answer.header.stamp.sec + answer.header.stamp.nanosec * 1e-9):
                wrong.append(answer)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for step in range(1, 3000):
        stamp_ns = 2 * S + step * 10_000_000
        buffer.set_transform(transform("a", "b", stamp_ns, stamp_ns * 1e-9), "me")
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_the_buffer_forgets_when_simulated_time_jumps_back(node: Node) -> None:
    use_sim_time = [Parameter("use_sim_time", value=True)]
    simulated = rclpy.create_node("simulated", parameter_overrides=use_sim_time)
    buffer = tf2_ros.Buffer(node=simulated)
    clock = node.create_publisher(Clock, "/clock", 10)
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(simulated)

    def tell(seconds: int) -> None:
        deadline_s = time.monotonic() + 20.0
        while simulated.get_clock().now() != Time(
            seconds=seconds, clock_type=ROSClock().clock_type
        ):
            assert time.monotonic() < deadline_s, "the clock message does not arrive"
            clock.publish(Clock(clock=Time(seconds=seconds).to_msg()))
            executor.spin_once(timeout_sec=0.05)

    tell(100)
    buffer.set_transform(transform("a", "b", 100 * S), "me")
    tell(101)
    assert buffer.can_transform("a", "b", Time())
    tell(50)
    assert not buffer.can_transform("a", "b", Time())
    executor.shutdown()
    simulated.destroy_node()


def test_frames_are_told_on_request(node: Node, spin: Callable[[Future], Any]) -> None:
    buffer = tf2_ros.Buffer(node=node)
    buffer.set_transform_static(transform("base", "camera", 0), "me")
    client = node.create_client(FrameGraph, "tf2_frames")
    assert client.wait_for_service(20.0)
    answer = spin(client.call_async(FrameGraph.Request()))
    assert "camera" in answer.frame_yaml
    assert "parent: 'base'" in answer.frame_yaml


def wait(future: Future) -> None:
    """Blocks until the future is done, while another thread spins."""
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    assert done.wait(20.0), "nothing within 20 s"


def stop(listener: tf2_ros.TransformListener) -> None:
    """Ends the thread of a listener that spins for itself."""
    listener.executor.shutdown()
    listener.dedicated_listener_thread.join(20.0)
    assert not listener.dedicated_listener_thread.is_alive()


@pytest.mark.parametrize("own_thread", [True, False])
def test_transforms_arrive_from_another_process(
    node: Node, talker: Callable[..., Any], spin: Callable[[Future], Any], own_thread: bool
) -> None:
    talker("talkers.py", "transforms")
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, node, spin_thread=own_thread)
    until = wait if own_thread else spin
    until(buffer.wait_for_transform_async("map", "camera", Time()))
    first_ns = Time.from_msg(
        buffer.lookup_transform("map", "camera", Time()).header.stamp
    ).nanoseconds
    between = Time(nanoseconds=first_ns + 70_000_000)  # not one of the stamps, every 50 ms
    until(buffer.wait_for_transform_async("map", "camera", between))
    answer = buffer.lookup_transform("map", "camera", between).transform
    driven_m = (between.nanoseconds - DRIVE_START_NS) * 1e-9 * 10.0
    # The map is 1 m behind odom, the mast 2 m ahead, the camera 0.5 m more and turned to the left.
    assert answer.translation.x == pytest.approx(1.0 + driven_m + 2.0 + 0.5)
    assert answer.rotation.z == pytest.approx(0.5**0.5)
    if own_thread:
        stop(listener)


def test_who_comes_late_gets_every_static_transform(node: Node) -> None:
    broadcaster = tf2_ros.StaticTransformBroadcaster(node)
    broadcaster.sendTransform(transform("base", "left", 0, 1.0))
    broadcaster.sendTransform([transform("base", "right", 0, -1.0)])
    late = rclpy.create_node("late")
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, late, spin_thread=True)
    wait(buffer.wait_for_transform_async("left", "right", Time()))
    assert buffer.lookup_transform("left", "right", Time()).transform.translation.x == -2.0
    stop(listener)
    late.destroy_node()


def test_one_transform_or_several_go_out_in_one_message(
    node: Node, spin: Callable[[Future], Any]
) -> None:
    received: list[TFMessage] = []
    enough: Future = Future()

    def receive(message: TFMessage) -> None:
        received.append(message)
        if len(received) == 2:
            enough.set_result(True)

    node.create_subscription(TFMessage, "/tf", receive, 10)
    broadcaster = tf2_ros.TransformBroadcaster(node)
    deadline_s = time.monotonic() + 20.0
    while node.count_subscribers("/tf") == 0:
        assert time.monotonic() < deadline_s
        rclpy.spin_once(node, timeout_sec=0.05)
    broadcaster.sendTransform(transform("a", "b", S))
    broadcaster.sendTransform((transform("a", "c", S), transform("a", "d", S)))
    spin(enough)
    assert [[t.child_frame_id for t in m.transforms] for m in received] == [["b"], ["c", "d"]]

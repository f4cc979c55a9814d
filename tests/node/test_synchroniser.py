"""The synchroniser as a message filter: real nodes, real messages over DDS, events only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ.setdefault("ROS_DOMAIN_ID", "43")
rclpy = pytest.importorskip("rclpy", reason="needs rclpy: ./run sets it up, or source a ROS 2")
message_filters = pytest.importorskip("message_filters", reason="needs message_filters")

from rclpy.clock import ClockType  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from rclpy.task import Future  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from renderocc_ros.node.synchroniser import CameraSynchroniser  # noqa: E402
from renderocc_ros.rig.matched_set import DropReason, MatchedSet  # noqa: E402
from tests.rig.drive import MS, Drive, assert_accounts, rig_of  # noqa: E402

Sets = list[MatchedSet[Any]]


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node("synchroniser_test")
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def image(stamp_ns: int, data: bytes = b"") -> CompressedImage:
    message = CompressedImage()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    message.data = data
    return message


def filters(count: int) -> dict[str, Any]:
    return {f"cam{i}": message_filters.SimpleFilter() for i in range(count)}


def collect(synchroniser: CameraSynchroniser, wanted: int = 1) -> tuple[Sets, Future]:
    """The sets that come out, and a future that is done when there are enough."""
    sets: Sets = []
    done: Future = Future()

    def keep(matched: MatchedSet[Any]) -> None:
        sets.append(matched)
        if len(sets) >= wanted and not done.done():
            done.set_result(None)

    synchroniser.registerCallback(keep)
    return sets, done


def wait(node: Node, future: Future) -> None:
    rclpy.spin_until_future_complete(node, future, timeout_sec=20.0)
    assert future.done(), "nothing within 20 s"


def test_any_filter_feeds_it_and_sets_hold_the_messages_themselves(node: Node) -> None:
    inputs = filters(3)
    synchroniser = CameraSynchroniser(rig_of(3, (0.0, 5.0, 80.0), missing="wait"), inputs, node)
    sets, _ = collect(synchroniser)
    drive = Drive((0.0, 5.0, 80.0), cycles=30, jitter_ms=1.0)
    sent = []
    for camera, stamp, cycle, _ in drive.messages():
        sent.append(message := image(stamp, str(cycle).encode()))
        inputs[camera].signalMessage(message)
    for cycle, matched in enumerate(sets):
        messages = [part.item for part in matched.images if part]
        assert [bytes(m.data) for m in messages] == [str(cycle).encode()] * 3
        assert all(any(m is original for original in sent) for m in messages)
    assert len(sets) == 30
    assert_accounts(synchroniser.matcher)


def test_images_over_dds_come_out_as_sets(node: Node) -> None:
    topics = [f"cam{i}/image/compressed" for i in range(3)]
    publishers = [node.create_publisher(CompressedImage, topic, 10) for topic in topics]
    inputs = {
        f"cam{i}": message_filters.Subscriber(node, CompressedImage, topic)
        for i, topic in enumerate(topics)
    }
    rig = rig_of(3, (0.0, 5.0, 10.0), missing="wait", period_s=0.1)
    sets, done = collect(CameraSynchroniser(rig, inputs, node), wanted=5)
    ready: Future = Future()

    def publish_when_connected() -> None:
        connected = all(publisher.get_subscription_count() for publisher in publishers)
        if connected and not ready.done():
            ready.set_result(None)

    timer = node.create_timer(0.02, publish_when_connected)
    wait(node, ready)
    timer.cancel()
    for cycle in range(5):
        for camera, publisher in enumerate(publishers):
            stamp = (1000 + cycle * 100 + camera * 5) * MS
            publisher.publish(image(stamp, bytes([cycle, camera])))
    wait(node, done)
    result = [[list(part.item.data) for part in s.images if part] for s in sets]
    assert result == [[[cycle, camera] for camera in range(3)] for cycle in range(5)]


def test_undecoded_messages_pass_through(node: Node) -> None:
    inputs = filters(2)
    rig = rig_of(2, (0.0, 0.0), missing="wait", period_s=0.1)
    stamps = {serialize_message(image(MS)): MS, serialize_message(image(2 * MS)): 2 * MS}
    synchroniser = CameraSynchroniser(rig, inputs, node, stamp_ns_of=stamps.__getitem__)
    sets, _ = collect(synchroniser)
    for name, raw in zip(inputs, stamps, strict=True):
        inputs[name].signalMessage(raw)
    assert [part.item for part in sets[0].images if part] == list(stamps)


def test_a_time_out_needs_no_further_message(node: Node) -> None:
    inputs = filters(2)
    rig = rig_of(2, (0.0, 0.0), missing="mask", period_s=0.1, timeout_s=0.05)
    synchroniser = CameraSynchroniser(rig, inputs, node)
    sets, done = collect(synchroniser)
    started = node.get_clock().now().nanoseconds
    inputs["cam1"].signalMessage(image(5 * MS))
    assert not sets
    wait(node, done)
    waited = node.get_clock().now().nanoseconds - started
    assert waited >= 50 * MS
    assert sets[0].missing == ("cam0",) and sets[0].stamp_ns == 5 * MS
    assert synchroniser.matcher.counters.used == {"cam1": 1}


def test_a_callback_that_raises_stops_neither_this_set_nor_the_next(node: Node) -> None:
    inputs = filters(2)
    rig = rig_of(2, (0.0, 0.0), missing="wait", period_s=0.1)
    synchroniser = CameraSynchroniser(rig, inputs, node)
    seen = []

    def fail_once(matched: MatchedSet[Any]) -> None:
        seen.append(matched.stamp_ns)
        if len(seen) == 1:
            raise RuntimeError("a fault of the user's")

    synchroniser.registerCallback(fail_once)
    inputs["cam0"].signalMessage(image(0))
    with pytest.raises(RuntimeError, match="fault of the user's"):
        inputs["cam1"].signalMessage(image(0))
    for name in inputs:
        inputs[name].signalMessage(image(100 * MS))
    assert seen == [0, 100 * MS]


def test_a_callback_may_feed_it_again(node: Node) -> None:
    inputs = filters(1)
    synchroniser = CameraSynchroniser(rig_of(1, (0.0,), period_s=0.1), inputs, node)
    seen = []

    def feed(matched: MatchedSet[Any]) -> None:
        seen.append(matched.stamp_ns)
        if len(seen) < 5:
            inputs["cam0"].signalMessage(image(matched.stamp_ns + 100 * MS))

    synchroniser.registerCallback(feed)
    inputs["cam0"].signalMessage(image(0))
    assert seen == [cycle * 100 * MS for cycle in range(5)]


def test_a_clock_that_jumps_back_clears_what_waits(node: Node) -> None:
    from rosgraph_msgs.msg import Clock

    node.set_parameters([rclpy.parameter.Parameter("use_sim_time", value=True)])
    assert node.get_clock().clock_type == ClockType.ROS_TIME
    inputs = filters(2)
    rig = rig_of(2, (0.0, 0.0), missing="mask", period_s=0.1, timeout_s=0.05)
    synchroniser = CameraSynchroniser(rig, inputs, node)
    sets, done = collect(synchroniser)
    publisher = node.create_publisher(Clock, "/clock", 10)
    reached: Callable[[float], Future] = lambda seconds: clock_at(node, publisher, seconds)  # noqa: E731
    wait(node, reached(100.0))
    inputs["cam0"].signalMessage(image(100_000 * MS))
    assert synchroniser.matcher.waiting["cam0"] == 1
    wait(node, reached(3.0))
    counters = synchroniser.matcher.counters
    assert counters.dropped == {("cam0", DropReason.TIME_JUMP): 1}
    inputs["cam1"].signalMessage(image(3_000 * MS))
    wait(node, reached(3.1))  # time-outs run on the simulated clock
    wait(node, done)
    assert sets[0].missing == ("cam0",) and not sets[1:]
    assert_accounts(synchroniser.matcher)


def clock_at(node: Node, publisher: Any, seconds: float) -> Future:
    """Publishes simulated time until the node's clock shows it."""
    from rosgraph_msgs.msg import Clock

    message, shown = Clock(), Future()
    message.clock.sec, message.clock.nanosec = divmod(round(seconds * 1e9), 10**9)

    def tick() -> None:
        publisher.publish(message)
        if node.get_clock().now().nanoseconds == round(seconds * 1e9) and not shown.done():
            shown.set_result(None)

    timer = node.create_timer(0.02, tick, clock=rclpy.clock.Clock())
    shown.add_done_callback(lambda _: timer.cancel())
    return shown


def test_inputs_must_be_the_rigs_cameras(node: Node) -> None:
    with pytest.raises(ValueError, match=r"inputs are cam0, but the rig's cameras are cam0, cam1"):
        CameraSynchroniser(rig_of(2), filters(1), node)


def test_nothing_happens_after_close(node: Node) -> None:
    inputs = filters(1)
    synchroniser = CameraSynchroniser(rig_of(1, (0.0,), period_s=0.1), inputs, node)
    sets, _ = collect(synchroniser)
    synchroniser.close()
    inputs["cam0"].signalMessage(image(0))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin_once(timeout_sec=0)
    assert not sets and not synchroniser.matcher.counters.received

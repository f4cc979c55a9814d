"""What message filters pass on, and when."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

message_filters = pytest.importorskip(
    "message_filters", reason="needs message_filters: ./run sets it up, or source a ROS 2"
)

import rclpy  # noqa: E402
from rclpy.callback_groups import ReentrantCallbackGroup  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from rclpy.task import Future  # noqa: E402
from rclpy.time import Time  # noqa: E402
from sensor_msgs.msg import FluidPressure, Temperature  # noqa: E402
from std_msgs.msg import Float64  # noqa: E402

MS = 1_000_000


def stamped(stamp_ms: float, value: float = 0.0) -> Temperature:
    message = Temperature(temperature=value)
    message.header.stamp = Time(nanoseconds=round(stamp_ms * MS)).to_msg()
    return message


def milliseconds(message: Temperature) -> float:
    return Time.from_msg(message.header.stamp).nanoseconds / MS


class Inputs:
    """Filters that are fed by hand, and what a synchroniser makes of them, as stamps in ms."""

    def __init__(self, count: int, make: Callable[[list[Any]], Any]) -> None:
        self.filters = [message_filters.SimpleFilter() for _ in range(count)]
        self.sync = make(self.filters)
        self.sets: list[tuple[float, ...]] = []
        self.sync.registerCallback(lambda *msgs: self.sets.append(tuple(map(milliseconds, msgs))))

    def feed(self, *events: tuple[int, float]) -> list[tuple[float, ...]]:
        """(input, stamp in ms), one after the other; the sets so far."""
        for index, stamp_ms in events:
            self.filters[index].signalMessage(stamped(stamp_ms))
        return self.sets


def approximate(count: int, slop_ms: float, queue_size: int = 10, **options: bool) -> Inputs:
    return Inputs(
        count,
        lambda filters: message_filters.ApproximateTimeSynchronizer(
            filters, queue_size, slop_ms / 1000, **options
        ),
    )


def exact(count: int, queue_size: int = 10) -> Inputs:
    return Inputs(count, lambda filters: message_filters.TimeSynchronizer(filters, queue_size))


def test_callbacks_are_called_in_order_with_their_own_arguments() -> None:
    heard: list[Any] = []
    simple = message_filters.SimpleFilter()
    simple.registerCallback(lambda *args: heard.append(("first", *args)), "extra", 3)
    simple.registerCallback(lambda *args: heard.append(("second", *args)))
    simple.signalMessage("message", "another")
    assert heard == [
        ("first", "message", "another", "extra", 3),
        ("second", "message", "another"),
    ]


def test_exact_sets_need_the_same_stamp_to_the_nanosecond() -> None:
    inputs = exact(2)
    assert inputs.feed((0, 10.0), (1, 10.000001), (0, 20.0), (1, 20.0)) == [(20.0, 20.0)]


def test_exact_sets_come_once_whatever_the_order_of_inputs() -> None:
    inputs = exact(3)
    inputs.feed((2, 1), (0, 1), (0, 2), (2, 2), (1, 1), (1, 2))
    assert inputs.sets == [(1, 1, 1), (2, 2, 2)]
    assert not any(inputs.sync.queues)


def test_exact_queues_lose_the_oldest() -> None:
    inputs = exact(2, queue_size=2)
    assert inputs.feed((0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)) == [(2, 2), (3, 3)]


def test_approximate_sets_are_less_than_the_slop_apart() -> None:
    assert approximate(2, 10).feed((0, 100), (1, 109.999)) == [(100, 109.999)]
    assert approximate(2, 10).feed((0, 100), (1, 110)) == []  # the slop itself is too much
    assert approximate(3, 10).feed((0, 100), (1, 106), (2, 112)) == []  # 12 ms over all


def test_approximate_sets_come_in_order_of_the_inputs() -> None:
    inputs = approximate(3, 10)
    assert inputs.feed((2, 102), (0, 100), (1, 101)) == [(100, 101, 102)]
    assert not any(inputs.sync.queues)


def test_of_several_the_nearest_to_the_newcomer_is_taken() -> None:
    inputs = approximate(2, 50)
    assert inputs.feed((0, 100), (0, 120), (0, 130), (1, 118)) == [(120, 118)]
    assert inputs.feed((1, 131)) == [(120, 118), (130, 131)]
    assert inputs.feed((1, 101)) == [(120, 118), (130, 131), (100, 101)]


def test_a_set_may_skip_the_nearest_of_one_input_for_the_sake_of_all() -> None:
    inputs = approximate(3, 10)
    inputs.feed((0, 94), (0, 103), (1, 92), (2, 100))
    # 103 is nearer to 100 than 94, but 103 and 92 are 11 ms apart.
    assert inputs.sets == [(94, 92, 100)]


def test_approximate_queues_lose_the_oldest() -> None:
    inputs = approximate(2, 5, queue_size=2)
    assert inputs.feed((0, 10), (0, 20), (0, 30), (1, 10), (1, 20), (1, 30)) == [
        (20, 20),
        (30, 30),
    ]


def test_one_silent_input_silences_all() -> None:
    assert approximate(3, 100).feed(*[(i, 10 * n) for n in range(50) for i in (0, 1)]) == []


def test_approximate_sets_against_brute_force() -> None:
    dice = random.Random(3)
    events = [
        (i, 100 * n + dice.uniform(0, 45))
        for n in range(200)
        for i in range(3)
        if dice.random() > 0.1
    ]
    dice.shuffle(events)
    events.sort(key=lambda event: event[1] // 20)  # arrival, out of order by up to 20 ms
    sets = approximate(3, 50, queue_size=5).feed(*events)
    waiting: list[list[float]] = [[], [], []]
    expected: list[tuple[float, ...]] = []
    for index, exact_ms in events:
        stamp = round(exact_ms * MS) / MS
        waiting[index] = sorted([*waiting[index], stamp])[-5:]
        near = [
            [stamp] if i == index else sorted(queue, key=lambda s, c=stamp: abs(s - c))
            for i, queue in enumerate(waiting)
        ]
        fits = [
            (a, b, c) for a in near[0] for b in near[1] for c in near[2]
            if max(a, b, c) - min(a, b, c) < 50 and stamp in waiting[index]
        ]  # fmt: skip
        if fits:
            expected.append(fits[0])
            for queue, used in zip(waiting, fits[0], strict=True):
                queue.remove(used)
    assert len(expected) > 100
    assert sets == expected


def test_messages_without_a_stamp_are_left_out_unless_allowed() -> None:
    for allowed in (False, True):
        a, b = message_filters.SimpleFilter(), message_filters.SimpleFilter()
        sync = message_filters.ApproximateTimeSynchronizer(
            [a, b], 10, 5.0, allow_headerless=allowed
        )
        sets: list[Any] = []
        sync.registerCallback(lambda *messages, sets=sets: sets.append(messages))
        a.signalMessage(Float64(data=1.0))
        b.signalMessage(Float64(data=2.0))
        assert [tuple(m.data for m in messages) for messages in sets] == [(1.0, 2.0)] * allowed


def test_the_time_of_arrival_may_replace_the_stamps() -> None:
    try:
        inputs = approximate(2, 5000, sync_arrival_time=True)
    except TypeError:
        pytest.skip("message_filters before Kilted has no sync_arrival_time")
    assert inputs.feed((0, 100_000), (1, 900_000)) == [(100_000, 900_000)]


@pytest.mark.parametrize("make", [exact, lambda count: approximate(count, 5)])
def test_the_lock_is_held_while_callbacks_run_and_for_ever_when_one_raises(
    make: Callable[[int], Inputs],
) -> None:
    held: list[bool] = []
    inputs = make(2)
    inputs.sync.registerCallback(lambda *_: held.append(inputs.sync.lock.locked()))
    inputs.feed((0, 10), (1, 10))
    assert held == [True]
    assert not inputs.sync.lock.locked()

    def fail(*_: Any) -> None:
        raise ValueError("the user's mistake")

    inputs.sync.registerCallback(fail)
    with pytest.raises(ValueError, match="the user's mistake"):
        inputs.feed((0, 20), (1, 20))
    assert inputs.sync.lock.locked()

    def feed() -> None:
        with contextlib.suppress(ValueError):  # the set of before may be tried again
            inputs.feed((0, 30))

    blocked = threading.Thread(target=feed, daemon=True)
    blocked.start()
    blocked.join(0.3)
    assert blocked.is_alive()
    inputs.sync.lock.release()
    blocked.join(10.0)
    assert not blocked.is_alive()


def test_a_cache_answers_by_time() -> None:
    source = message_filters.SimpleFilter()
    cache = message_filters.Cache(source, 3)
    passed: list[float] = []
    cache.registerCallback(lambda message: passed.append(milliseconds(message)))
    assert cache.getLast() is None
    assert cache.getLastestTime() is None
    for stamp_ms in (1, 2, 3, 4):
        source.signalMessage(stamped(stamp_ms))
    assert passed == [1, 2, 3, 4]

    def at(stamp_ms: float) -> Time:
        return Time.from_msg(stamped(stamp_ms).header.stamp)

    assert (cache.getOldestTime(), cache.getLastestTime()) == (at(2), at(4))
    assert milliseconds(cache.getLast()) == 4
    assert [milliseconds(m) for m in cache.getInterval(at(2), at(3))] == [2, 3]
    assert milliseconds(cache.getElemAfterTime(at(2.5))) == 3
    assert milliseconds(cache.getElemBeforeTime(at(2.5))) == 2
    assert cache.getElemAfterTime(at(5)) is None
    assert cache.getElemBeforeTime(at(1)) is None
    with pytest.raises(AssertionError):
        cache.getInterval(at(3), at(2))


def test_a_subscriber_takes_the_options_of_a_subscription(node: Node) -> None:
    plain = message_filters.Subscriber(node, Temperature, "temperature")
    assert plain.getTopic() == "temperature"
    assert plain.qos_profile.depth == 10  # the subscription's own attribute
    group = ReentrantCallbackGroup()
    chosen = message_filters.Subscriber(
        node, Temperature, "t", qos_profile=qos_profile_sensor_data, callback_group=group
    )
    assert chosen.sub.qos_profile.reliability == qos_profile_sensor_data.reliability
    assert chosen.sub.callback_group is group
    with pytest.raises(AttributeError):
        _ = chosen.nothing_of_that_name


def test_sets_are_formed_from_another_process(
    node: Node, talker: Callable[..., Any], spin: Callable[[Future], Any]
) -> None:
    talker("talkers.py", "stamped")
    subscribers = [
        message_filters.Subscriber(node, Temperature, "temperature"),
        message_filters.Subscriber(node, FluidPressure, "pressure"),
    ]
    sync = message_filters.ApproximateTimeSynchronizer(subscribers, 10, 0.01)
    numbers: list[tuple[float, float]] = []
    enough: Future = Future()

    def receive(hot: Temperature, press: FluidPressure) -> None:
        numbers.append((hot.temperature, press.fluid_pressure))
        if len(numbers) == 20:
            enough.set_result(True)

    sync.registerCallback(receive)
    spin(enough)
    assert all(hot == press for hot, press in numbers)
    assert [hot for hot, _ in numbers] == sorted({hot for hot, _ in numbers})


def test_filters_work_without_a_context() -> None:
    assert not rclpy.ok()
    assert exact(2).feed((0, 1), (1, 1)) == [(1, 1)]

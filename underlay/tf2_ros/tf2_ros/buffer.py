"""The transform buffer of a node."""

import threading
import time as wall_time
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TransformStamped
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future
from tf2_msgs.srv import FrameGraph
from tf2_py import BufferCore

POLL_S = 0.02
NO_WAIT = Duration()


class Buffer(BufferCore):
    """A BufferCore that can wait, tells who waits of new data, and forgets when time jumps back.

    With a `node` it follows that node's clock and offers the service ``tf2_frames``, which answers
    with all frames as YAML. In all calls `time` 0 asks for the newest common time, and a transform
    maps `source_frame` into `target_frame`. A `timeout` blocks the calling thread: a callback of a
    single-threaded executor that also fills the buffer waits in vain.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        super().__init__(cache_time)
        self._new_data_callbacks: list[Callable[[], None]] = []
        self._callbacks_lock = threading.RLock()
        if node is not None:
            self.srv = node.create_service(FrameGraph, "tf2_frames", self._answer_frames)
        self.clock = Clock(clock_type=ClockType.SYSTEM_TIME) if node is None else node.get_clock()
        threshold = JumpThreshold(
            min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True
        )
        self.jump_handle = self.clock.create_jump_callback(
            threshold, post_callback=self.time_jump_callback
        )

    def time_jump_callback(self, time_jump: TimeJump) -> None:
        """Forget every timed transform, since they belong to another time."""
        get_logger("tf2_buffer").warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at its stamp, and tell who waits."""
        super().set_transform(transform, authority)
        self._call_new_data_callbacks()

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add a transform that holds at all times, and tell who waits."""
        super().set_transform_static(transform, authority)
        self._call_new_data_callbacks()

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Any, timeout: Duration = NO_WAIT
    ) -> TransformStamped:
        """The transform at `time`; raises a TransformException where there is none in time."""
        self.can_transform(target_frame, source_frame, time, timeout)
        return self.lookup_transform_core(target_frame, source_frame, time)

    def lookup_transform_full(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
    ) -> TransformStamped:
        """From `source_frame` at `source_time` to `target_frame` at `target_time`.

        `fixed_frame` is the frame that does not move in between.
        """
        frames = (target_frame, target_time, source_frame, source_time, fixed_frame)
        self.can_transform_full(*frames, timeout)
        return self.lookup_transform_full_core(*frames)

    def can_transform(
        self,
        target_frame: str,
        source_frame: str,
        time: Any,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether lookup_transform would answer within `timeout`; with the reason if asked for."""
        answer = _poll(lambda: self.can_transform_core(target_frame, source_frame, time), timeout)
        return answer if return_debug_tuple else answer[0]

    def can_transform_full(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
        timeout: Duration = NO_WAIT,
        return_debug_tuple: bool = False,
    ) -> bool | tuple[bool, str]:
        """Whether lookup_transform_full would answer within `timeout`; with the reason if asked."""
        frames = (target_frame, target_time, source_frame, source_time, fixed_frame)
        answer = _poll(lambda: self.can_transform_full_core(*frames), timeout)
        return answer if return_debug_tuple else answer[0]

    def wait_for_transform_async(self, target_frame: str, source_frame: str, time: Any) -> Future:
        """A future that gets the transform as its result as soon as there is one."""
        return self._when(
            lambda: self.can_transform_core(target_frame, source_frame, time),
            lambda: self.lookup_transform_core(target_frame, source_frame, time),
        )

    def wait_for_transform_full_async(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> Future:
        """As wait_for_transform_async, through a fixed frame."""
        frames = (target_frame, target_time, source_frame, source_time, fixed_frame)
        return self._when(
            lambda: self.can_transform_full_core(*frames),
            lambda: self.lookup_transform_full_core(*frames),
        )

    async def lookup_transform_async(
        self, target_frame: str, source_frame: str, time: Any
    ) -> TransformStamped:
        """Awaits the transform."""
        await self.wait_for_transform_async(target_frame, source_frame, time)
        return self.lookup_transform_core(target_frame, source_frame, time)

    async def lookup_transform_full_async(
        self,
        target_frame: str,
        target_time: Any,
        source_frame: str,
        source_time: Any,
        fixed_frame: str,
    ) -> TransformStamped:
        """Awaits the transform through a fixed frame."""
        frames = (target_frame, target_time, source_frame, source_time, fixed_frame)
        await self.wait_for_transform_full_async(*frames)
        return self.lookup_transform_full_core(*frames)

    def _when(
        self, is_there: Callable[[], tuple[bool, str]], get: Callable[[], TransformStamped]
    ) -> Future:
        future = Future()

        def try_now() -> None:
            if future.done():
                return
            try:
                if is_there()[0]:
                    future.set_result(get())
            except Exception as error:
                future.set_exception(error)

        with self._callbacks_lock:
            try_now()
            if not future.done():
                self._new_data_callbacks.append(try_now)
                future.add_done_callback(lambda _: self._remove_callback(try_now))
        return future

    def _remove_callback(self, callback: Callable[[], None]) -> None:
        with self._callbacks_lock:
            if callback in self._new_data_callbacks:
                self._new_data_callbacks.remove(callback)

    def _call_new_data_callbacks(self) -> None:
        with self._callbacks_lock:
            for callback in list(self._new_data_callbacks):
                callback()

    def _answer_frames(
        self, request: FrameGraph.Request, response: FrameGraph.Response
    ) -> FrameGraph.Response:
        response.frame_yaml = self.all_frames_as_yaml()
        return response


def _poll(ask: Callable[[], tuple[bool, str]], timeout: Duration) -> tuple[bool, str]:
    """Ask until the answer is yes or `timeout` of wall time is over."""
    end_s = wall_time.monotonic() + timeout.nanoseconds * 1e-9
    answer = ask()
    while not answer[0] and wall_time.monotonic() < end_s:
        wall_time.sleep(POLL_S)
        answer = ask()
    return answer

"""How the node's process runs and ends."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from rclpy.executors import ExternalShutdownException

# Python lets a thread that computes go on for 5 ms while another has work; the threads that take
# images in, decode and publish hand over to each other several times a set.
HAND_OVER_S = 5e-4


# Where Fast DDS keeps the shared memory of a process, beside a lock that it holds while it lives.
SHARED_MEMORY = Path("/dev/shm")
SEGMENT_LOCK = re.compile(r"(?:fastdds|fastrtps)_[0-9a-f]{16}_el")
LAUNCH_PID = "RENDEROCC_LAUNCH_PID"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
YOUNG_S = 10.0  # a process that starts makes its lock before it holds it


def remove_stale_segments(folder: Path = SHARED_MEMORY) -> int:
    """Remove the shared memory that killed processes of this user have left; gives their number.

    Each leaves up to 64 MB for ever, until nobody can send any more.
    """
    removed = 0
    for lock in folder.glob("fast*_el"):
        if not SEGMENT_LOCK.fullmatch(lock.name):
            continue
        with suppress(OSError), open(lock, "rb", opener=_unfollowed) as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < YOUNG_S:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
            lock.with_name(lock.name.removesuffix("_el")).unlink(missing_ok=True)
            lock.unlink()
            removed += 1
    return removed


def _unfollowed(path: str, flags: int) -> int:
    # Everybody may put a link or a pipe there.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def end_with_launch() -> None:
    """SIGTERM for this process when the launch that started it ends (prctl(2), Linux).

    A launch that is itself ended by SIGTERM, as systemd and containers do, leaves its nodes behind.
    The launch files set ``LAUNCH_PID``; anybody else's process outlives its parent, as usual.
    """
    launch_pid = os.environ.get(LAUNCH_PID, "")
    if not launch_pid.isdigit() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if not Path("/proc", launch_pid).exists():  # it has ended while this process started
        os.kill(os.getpid(), signal.SIGTERM)


def run_until_signalled(run: Callable[[], None]) -> NoReturn:
    """Run in this, the main thread, until it returns, fails, or SIGINT or SIGTERM comes.

    Ends the process: with status 1, and the reason on stderr, if ``run`` failed by itself.
    """
    signals: list[int] = []
    sys.setswitchinterval(HAND_OVER_S)

    def interrupt(number: int, frame: Any) -> NoReturn:
        signals.append(number)
        raise KeyboardInterrupt

    # rclpy's own handler, which wakes the executor, calls this one as well: so a signal ends even
    # a model that is loading.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    status = 0
    try:
        end_with_launch()
        run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ValueError as error:
        print(f"renderocc: {error}", file=sys.stderr)
        status = 1
    except Exception:
        if not signals:  # else the signal struck inside of rclpy, and came out of it as this
            traceback.print_exc()
            status = 1
    # All is released. Python's own end would take seconds with torch loaded, and crash where an
    # inference still runs.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)

"""A Rerun viewer: one that is open already, or a new one that nobody else's machine can reach."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

PORT = 9876  # Rerun's own
WAIT_S = 30.0
LOOPBACK = "127.0.0.1"


def open_viewer(listen: str = LOOPBACK, port: int = PORT, *flags: str) -> str:
    """Where to send frames to. The viewer outlives this process.

    Args:
        listen: address that a new viewer takes frames on; Rerun's own default is all of them.
        flags: further ones of the ``rerun`` program.

    Raises:
        ValueError: the viewer ended, or does not listen.
    """
    url = f"rerun+http://{LOOPBACK}:{port}/proxy"
    if _listens(port):
        return url
    command = [sys.executable, "-m", "rerun_cli", "--bind", listen, "--port", str(port), *flags]
    viewer = subprocess.Popen(command, start_new_session=True)
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and viewer.poll() is None:
        if _listens(port):
            return url
        time.sleep(0.05)
    if viewer.poll() is None:
        os.killpg(viewer.pid, signal.SIGKILL)
    raise ValueError(
        f"the Rerun viewer did not open ({' '.join(command)}): its own words stand above; or write "
        "a file with --save drive.rrd"
    )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0

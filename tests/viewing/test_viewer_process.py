"""The viewer that `renderocc view` opens listens where it should, and nowhere else."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from renderocc_ros.viewing import viewer_process
from renderocc_ros.viewing.viewer_process import open_viewer

pytest.importorskip("rerun", reason="extra 'view' is not installed")
LISTENS = "0A"  # the state in /proc/net/tcp


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A free port; the viewer that is opened there ends with the test."""
    started = []
    popen = viewer_process.subprocess.Popen

    def remember(*arguments: object, **options: object) -> object:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(viewer_process.subprocess, "Popen", remember)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    yield free
    for viewer in started:
        with suppress(ProcessLookupError):
            os.killpg(viewer.pid, signal.SIGKILL)
        viewer.wait()


def listeners(port: int) -> set[str]:
    """Local addresses, in the kernel's hexadecimal, of the sockets that listen on a port."""
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    result = (row[1].split(":") for row in rows if row[3] == LISTENS)
    return {address for address, hexadecimal in result if int(hexadecimal, 16) == port}


def test_a_viewer_listens_on_this_machine_alone(port: int) -> None:
    url = open_viewer("127.0.0.1", port, "--serve-grpc")  # all of the viewer but its window
    assert url == f"rerun+http://127.0.0.1:{port}/proxy"
    assert listeners(port) == {"0100007F"}
    assert open_viewer("127.0.0.1", port, "--no-such-flag") == url, "the open one is taken again"


def test_a_viewer_that_does_not_open_is_an_error(port: int) -> None:
    with pytest.raises(ValueError, match=r"the Rerun viewer did not open .*--save drive\.rrd"):
        open_viewer("127.0.0.1", port, "--no-such-flag")

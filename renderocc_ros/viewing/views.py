"""Which view shows the frames: a window, or a file by its suffix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from renderocc_ros.files import write_whole
from renderocc_ros.viewing.view_frame import ViewFrame
from renderocc_ros.viewing.viewer_process import LOOPBACK

WIDTHS = {".png": 1920, ".jpg": 1920, ".mp4": 1280, ".gif": 960, ".webp": 960}
SUFFIXES = (*WIDTHS, ".rrd")


class View(Protocol):
    """Whatever shows frames."""

    def add(self, frame: ViewFrame) -> bool:
        """Show a frame; False where no further one is wanted."""

    def close(self) -> None:
        """Finish."""


class _NotKept(Exception):
    pass


class OpenView:
    """A view, and the file that it writes, which takes its place when it is closed.

    Args:
        path: of the file; None for a window.
        make: the view, from the open file.
    """

    def __init__(self, path: Path | None, make: Callable[[BinaryIO | None], View]) -> None:
        with ExitStack() as stack:
            self._view = make(stack.enter_context(write_whole(path)) if path else None)
            self._writing = stack.pop_all()

    def add(self, frame: ViewFrame) -> bool:
        """Show a frame; False where no further one is wanted."""
        return self._view.add(frame)

    def close(self, keep: bool) -> None:
        """Finish; with a file that is not to be kept, what stood there before is still there."""
        with suppress(_NotKept), self._writing:
            self._view.close()
            if not keep:
                raise _NotKept


def open_view(
    save: Path | None,
    width: int | None = None,
    speed: float = 1.0,
    listen: str = LOOPBACK,
    beside: bool = False,
) -> OpenView:
    """A view.

    Args:
        save: a file to write; None opens the Rerun viewer.
        width: of pictures, pixels; by the kind of file if not given.
        speed: of films; 2 is twice as fast as the sequence.
        listen: address that the Rerun viewer takes frames on.
        beside: in pictures, cameras left of the voxels.

    Raises:
        ValueError: a file of a kind that is not known, or a window without a display.
    """
    # Each kind of view has libraries of its own: what is not used need not be there.
    if save is None or save.suffix == ".rrd":
        from renderocc_ros.viewing.rerun_view import RerunView

        return OpenView(save, lambda file: RerunView(Path(file.name) if file else None, listen))
    if save.suffix not in WIDTHS:
        raise ValueError(f"--save {save}: a view is written as {', '.join(SUFFIXES)}")
    from renderocc_ros.viewing.picture_file import AnimatedPicture, Mp4, StillPicture

    pixels = width or WIDTHS[save.suffix]
    format = {".jpg": "jpeg"}.get(save.suffix, save.suffix[1:])

    def make(file: Any) -> View:
        if format in ("png", "jpeg"):
            return StillPicture(file, format, pixels, beside)
        if format == "mp4":
            return Mp4(file, pixels, speed, beside)
        return AnimatedPicture(file, format, pixels, speed, beside)

    return OpenView(save, make)


def within(
    frames: Iterable[ViewFrame], start_s: float, seconds: float | None
) -> Iterator[ViewFrame]:
    """The frames from ``start_s`` after the first one on, for so many seconds or to the end."""
    first_ns: int | None = None
    for frame in frames:
        first_ns = frame.stamp_ns if first_ns is None else first_ns
        since_s = (frame.stamp_ns - first_ns) * 1e-9 - start_s
        if seconds is not None and since_s >= seconds:
            return
        if since_s >= 0:
            yield frame


def show(frames: Iterable[ViewFrame], view: OpenView, truth: bool) -> int:
    """Show frames until there are no more or no more are wanted; gives their number.

    A file is kept if it is whole: also after Ctrl-C, not after an error.

    Raises:
        ValueError: there was nothing to show.
    """
    count, keep = 0, True
    try:
        for frame in frames:
            seen = frame if truth else frame.without_truth()
            if seen.is_empty:
                continue
            count += 1
            if not view.add(seen):
                break
        if not count:
            raise ValueError("nothing to show: no images and no voxels")
    except Exception:
        keep = False
        raise
    finally:
        view.close(keep)
    return count

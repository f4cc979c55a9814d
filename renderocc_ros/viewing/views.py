"""Which view shows the frames: a window, or a file by its suffix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

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


def open_view(
    save: Path | None,
    width: int | None = None,
    speed: float = 1.0,
    listen: str = LOOPBACK,
    beside: bool = False,
) -> View:
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

        return RerunView(save, listen)
    if save.suffix not in WIDTHS:
        raise ValueError(f"--save {save}: a view is written as {', '.join(SUFFIXES)}")
    from renderocc_ros.viewing.picture_file import AnimatedPicture, Mp4, StillPicture

    save.parent.mkdir(parents=True, exist_ok=True)
    pixels = width or WIDTHS[save.suffix]
    if save.suffix in (".png", ".jpg"):
        return StillPicture(save, pixels, beside)
    return (Mp4 if save.suffix == ".mp4" else AnimatedPicture)(save, pixels, speed, beside)


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


def show(frames: Iterable[ViewFrame], view: View, truth: bool) -> int:
    """Show frames until there are no more or no more are wanted; gives their number.

    Raises:
        ValueError: there was nothing to show.
    """
    count = 0
    try:
        for frame in frames:
            seen = frame if truth else frame.without_truth()
            if seen.is_empty:
                continue
            count += 1
            if not view.add(seen):
                break
    finally:
        view.close()
    if not count:
        raise ValueError("nothing to show: no images and no voxels")
    return count

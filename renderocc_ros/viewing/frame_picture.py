"""Frames as pictures of one size and layout, so that they can follow each other in a film."""

from __future__ import annotations

import math

import numpy as np

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.overview import (
    GAP,
    LINE,
    WIDTH,
    Picture,
    blank,
    camera_mosaic,
    captioned,
    class_key,
    class_legend,
    padded,
    side_by_side,
    text_line,
)
from renderocc_ros.viewing.view_frame import ViewFrame
from renderocc_ros.viewing.voxel_picture import from_above, in_perspective

VOXELS_HEIGHT = 760
LEGEND_COLUMNS = 6
CAMERAS_WIDTH = 860  # where they stand beside the voxels, in two columns


class FramePainter:
    """Paints frames in the layout that the first one asks for.

    Prediction and truth stand side by side; where there is only one of them, it is shown from above
    and in perspective. What a later frame lacks is an empty place with a word.

    Args:
        beside: cameras and the meaning of colours to the left, voxels in perspective to the right.
    """

    def __init__(self, first: ViewFrame, beside: bool = False) -> None:
        if beside and not (first.cameras and first.volumes):
            raise ValueError("cameras beside voxels need both; the first frame lacks one of them")
        self._key = None
        if beside:
            class_set = next(iter(first.volumes.values())).class_set
            self._key = class_key(class_set, CAMERAS_WIDTH, columns=2)
        self._start_ns = first.stamp_ns
        self._kinds = tuple(first.volumes)
        self._empty = _empty_images(first)
        self._classes = max((len(v.class_set) for v in first.volumes.values()), default=0)
        self._painted = 0

    def paint(self, frame: ViewFrame) -> Picture:
        """(H, 1920, 3) uint8 RGB."""
        if self._key is not None:
            return self._beside(frame, self._key)
        seconds = (frame.stamp_ns - self._start_ns) * 1e-9
        rows = [text_line(f"{seconds:.2f} s, frame {self._painted}")]
        self._painted += 1
        if self._empty:
            columns = min(max(len(self._empty), 4), 6)
            rows.append(camera_mosaic(self._images(frame), columns))
        if self._kinds:
            rows += [padded(side_by_side(self._voxels(frame))), self._legend(frame)]
        return np.concatenate(rows)

    def _beside(self, frame: ViewFrame, key: Picture) -> Picture:
        columns = min(len(self._empty), 2)
        cameras = camera_mosaic(self._images(frame), columns, CAMERAS_WIDTH)
        left = np.concatenate([blank(GAP, CAMERAS_WIDTH), cameras, key])
        width = WIDTH - CAMERAS_WIDTH
        height = (len(left) - GAP) // len(self._kinds) - GAP
        tiles = [
            _tile(frame, frame.volumes.get(kind), kind, width - GAP, height) for kind in self._kinds
        ]
        right = np.concatenate([blank(GAP, width), *(padded(tile, width) for tile in tiles)])
        return np.concatenate([left[: len(right)], right[: len(left)]], axis=1)

    def _images(self, frame: ViewFrame) -> dict[str, Picture]:
        posed_images = {r.name: r for r in (frame.cameras.images if frame.cameras else ()) if r}
        return {
            name if name in posed_images else f"{name}: no image": (
                posed_images[name].pixels if name in posed_images else empty
            )
            for name, empty in self._empty.items()
        }

    def _voxels(self, frame: ViewFrame) -> list[Picture]:
        volumes, (first, *others) = frame.volumes, self._kinds
        if others:
            width = (WIDTH - 3 * GAP) // 2
            return [_tile(frame, volumes.get(kind), kind, width) for kind in self._kinds]
        beside = _tile(frame, volumes.get(first), first, WIDTH - 3 * GAP - VOXELS_HEIGHT)
        if first not in volumes:
            return [beside]
        above = from_above(volumes[first], VOXELS_HEIGHT, VOXELS_HEIGHT)
        return [captioned(above, f"{first} from above, forward is up"), beside]

    def _legend(self, frame: ViewFrame) -> Picture:
        """Always of the height that all classes need."""
        legend = blank(LINE * math.ceil(self._classes / LEGEND_COLUMNS) + 2 * GAP, WIDTH)
        volume = frame.volumes.get(self._kinds[0])
        if volume is not None:
            drawn = class_legend(volume)[: len(legend)]
            legend[: len(drawn)] = drawn
        return legend


def _tile(
    frame: ViewFrame,
    volume: SemanticOccupancy | None,
    kind: str,
    width: int,
    height: int = VOXELS_HEIGHT,
) -> Picture:
    if volume is None:
        return captioned(blank(height, width), f"no {kind} at this time")
    seen = in_perspective(volume, width, height, frame.cameras, frame.lidar_m)
    return captioned(seen, kind)


def _empty_images(first: ViewFrame) -> dict[str, Picture]:
    """A grey picture for each camera, of its size, or of another's where it has none."""
    if first.cameras is None:
        return {}
    shapes = {r.name: r.pixels.shape for r in first.cameras.images if r is not None}
    usual = next(iter(shapes.values()))
    names = first.cameras.names
    return {name: np.full(shapes.get(name, usual), 200, np.uint8) for name in names}

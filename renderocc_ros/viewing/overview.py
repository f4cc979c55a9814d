"""One picture that shows what went in and what came out: cameras beside voxels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.files import write_image
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.viewing.voxel_picture import from_above, in_perspective

Picture = NDArray[np.uint8]

WIDTH, GAP, LINE = 1920, 12, 34
PAPER, INK, PALE = (244, 245, 247), (32, 36, 42), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_DUPLEX
VOXELS_HEIGHT = 860


def overview(
    images: Mapping[str, Picture], occupancy: SemanticOccupancy, title: str = ""
) -> Picture:
    """Camera images with their names, the voxels from above and in perspective, the classes.

    Args:
        images: by camera name, each (H, W, 3) uint8 RGB of any size, in the order to show.
        occupancy: what was computed from them.
        title: one line above everything.

    Returns:
        (H, 1920, 3) uint8 RGB.
    """
    above_width = VOXELS_HEIGHT
    beside_width = WIDTH - 3 * GAP - above_width
    views = [
        captioned(from_above(occupancy, above_width, VOXELS_HEIGHT), "from above, forward is up"),
        captioned(in_perspective(occupancy, beside_width, VOXELS_HEIGHT), "from behind"),
    ]
    rows = [text_line(title)] if title else []
    rows += [camera_mosaic(images), side_by_side(views), class_legend(occupancy)]
    return np.concatenate([padded(row) for row in rows])


def camera_mosaic(
    images: Mapping[str, Picture], columns: int | None = None, width: int = WIDTH
) -> Picture:
    """All images with their names in a grid, (H, width, 3); 3 columns for up to 6 cameras."""
    columns = columns or min(len(images), 3 if len(images) <= 6 else 4) or 1
    each = (width - (columns + 1) * GAP) // columns
    tiles = [captioned(_fitted(image, each), name) for name, image in images.items()]
    lines = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return np.concatenate([padded(side_by_side(line), width) for line in lines])


def class_legend(occupancy: SemanticOccupancy) -> Picture:
    """Colour, name and number of voxels of every class that occurs, most frequent first."""
    entries = class_counts(occupancy)
    columns = 6
    height = LINE * max(1, math.ceil(len(entries) / columns)) + GAP
    legend = blank(height, WIDTH)
    for place, (name, count) in enumerate(entries.items()):
        row, column = divmod(place, columns)
        left, top = GAP + column * (WIDTH // columns), GAP + row * LINE
        colour = _colour_of(occupancy.class_set, name)
        cv2.rectangle(legend, (left, top), (left + 22, top + 20), colour, cv2.FILLED)
        cv2.rectangle(legend, (left, top), (left + 22, top + 20), INK, 1)
        _write(legend, f"{name}  {count:,}", (left + 32, top + 17), INK, 0.55)
    return legend


def class_key(class_set: ClassSet, width: int, columns: int) -> Picture:
    """Colour and name of every class, in the order of the class set, (H, width, 3)."""
    lines = math.ceil(len(class_set) / columns)
    key = blank(LINE * lines + GAP, width)
    for place, each in enumerate(class_set.classes):
        column, line = divmod(place, lines)
        left, top = GAP + column * (width // columns), GAP // 2 + line * LINE
        cv2.rectangle(key, (left, top), (left + 26, top + 24), each.colour, cv2.FILLED)
        cv2.rectangle(key, (left, top), (left + 26, top + 24), INK, 1)
        _write(key, each.name.replace("_", " "), (left + 40, top + 20), INK, 0.75)
    return key


def class_counts(occupancy: SemanticOccupancy) -> dict[str, int]:
    """Number of voxels of every class that occurs, most frequent first."""
    counts = np.bincount(occupancy.labels[occupancy.shown], minlength=len(occupancy.class_set))
    order = np.argsort(-counts, kind="stable")
    names = occupancy.class_set.names
    return {names[label]: int(counts[label]) for label in order if counts[label]}


def write_png(path: Path, picture: Picture) -> None:
    """Write an RGB picture.

    Raises:
        OSError: the file cannot be written.
    """
    write_image(path, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _colour_of(class_set: ClassSet, name: str) -> tuple[int, int, int]:
    return class_set.classes[class_set.id_of(name)].colour


def _fitted(image: Picture, width: int) -> Picture:
    height = round(image.shape[0] * width / image.shape[1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def captioned(image: Picture, text: str) -> Picture:
    """The image with a word in its corner."""
    picture = image.copy()
    (width, height), below = cv2.getTextSize(text, FONT, 0.6, 1)
    cv2.rectangle(picture, (0, 0), (width + 18, height + below + 12), INK, cv2.FILLED)
    _write(picture, text, (9, height + 8), PALE, 0.6)
    return picture


def text_line(text: str) -> Picture:
    """(46, 1920, 3): a line of text."""
    line = blank(LINE + GAP, WIDTH)
    _write(line, text, (GAP, LINE - 4), INK, 0.75)
    return line


def _write(
    picture: Picture, text: str, place: tuple[int, int], colour: tuple[int, int, int], scale: float
) -> None:
    cv2.putText(picture, text, place, FONT, scale, colour, 1, cv2.LINE_AA)


def side_by_side(tiles: list[Picture]) -> Picture:
    """Tiles side by side, with gaps."""
    height = max(tile.shape[0] for tile in tiles)
    parts = []
    for tile in tiles:
        spare = blank(height - tile.shape[0], tile.shape[1])
        parts += [blank(height, GAP), np.concatenate([tile, spare])]
    return np.concatenate(parts, axis=1)


def padded(row: Picture, width: int = WIDTH) -> Picture:
    """The row at full width, with a gap below."""
    wide = np.concatenate([row, blank(row.shape[0], width - row.shape[1])], axis=1)
    return np.concatenate([wide, blank(GAP, width)])


def blank(height: int, width: int) -> Picture:
    """Empty paper."""
    return np.full((height, width, 3), PAPER, np.uint8)

"""Free and occupied cells as OctoMap's binary octree, for its files and messages.

The octree (Hornung et al. 2013) has 16 levels around the origin of its frame. An inner node is two
bytes: two bits for each of its eight children, the first in the lowest; children are counted with x
fastest, then y. Nodes follow each other depth first. Eight children of one kind are one leaf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy

UNKNOWN, FREE, OCCUPIED, DIVIDED = range(4)  # the two bits of a child
LEVELS = 16
FINEST = 8  # cells that an edge of a voxel is divided into, at most
ALIKE = 0b0101_0101_0101_0101  # times the bits of a child: the node whose children are all so


@dataclass(frozen=True)
class Octree:
    """A tree as it is written.

    Attributes:
        cell_m: edge of the smallest cells, metres.
        nodes: the inner nodes; empty where nothing is known.
    """

    cell_m: float
    nodes: NDArray[np.uint16]

    @property
    def data(self) -> bytes:
        """What a message holds, and a file after its header."""
        return self.nodes.astype("<u2").tobytes()

    @property
    def file(self) -> bytes:
        """The content of a .bt file."""
        children = (self.nodes | self.nodes >> 1) & ALIKE
        count = int(np.unpackbits(children.view(np.uint8)).sum()) + bool(len(self.nodes))
        head = f"# Octomap OcTree binary file\nid OcTree\nsize {count}\nres {self.cell_m}\ndata\n"
        return head.encode() + self.data


def cell_states(
    occupancy: SemanticOccupancy, visible: NDArray[np.bool_] | None = None
) -> NDArray[np.uint8]:
    """(X, Y, Z) OCCUPIED where a class is shown, FREE where a free cell is seen, else UNKNOWN.

    Args:
        visible: (X, Y, Z) bool: cells that nothing hides; None: those that a camera looks into.
    """
    free = occupancy.labels == occupancy.class_set.free_id
    seen = occupancy.in_view if visible is None else visible
    states = np.zeros(occupancy.grid.size, np.uint8)
    states[free if seen is None else free & seen] = FREE
    states[occupancy.shown] = OCCUPIED
    return states


def to_octree(grid: VoxelGrid, states: NDArray[np.uint8]) -> Octree:
    """The tree of a grid's cells, in the grid's frame.

    Args:
        states: (X, Y, Z) of UNKNOWN, FREE and OCCUPIED.

    Raises:
        ValueError: OctoMap's cells do not fit the grid's, or do not reach as far.
    """
    parts, cell_m = octree_cells(grid)
    first = np.rint(np.array(grid.origin_m) / cell_m).astype(np.int64) + 2 ** (LEVELS - 1)
    if (first < 0).any() or (first + parts * np.array(grid.size) > 2**LEVELS).any():
        raise ValueError(
            f"OctoMap reaches {2 ** (LEVELS - 1) * cell_m:g} m from the origin; the grid spans "
            f"{grid.origin_m} to {grid.upper_m} m"
        )
    for axis in range(3):
        states = states.repeat(parts, axis)
    counts = np.zeros(states.shape, np.int32)  # of the inner nodes at and below each
    levels = []
    for _ in range(LEVELS):
        shape = list(zip(first % 2, states.shape, strict=True))
        inner = tuple(slice(low, low + size) for low, size in shape)
        sides = [(low, (low + size) % 2) for low, size in shape]
        states, counts = np.pad(states, sides), np.pad(counts, sides)
        codes = np.zeros([size // 2 for size in states.shape], np.uint16)
        below = np.zeros(codes.shape, np.int32)
        children = zip(_eighths(states), _eighths(counts), strict=True)
        for number, (state, count) in enumerate(children):
            codes |= state.astype(np.uint16) << np.uint16(2 * number)
            below += count
        levels.append((codes, counts, inner))
        states = _PARENT[codes]
        counts, first = np.where(states == DIVIDED, below + 1, 0).astype(np.int32), first // 2
    nodes = np.empty(counts.item(), np.uint16)
    places = np.zeros((1, 1, 1), np.int32)  # in the stream
    for codes, counts, inner in reversed(levels):
        divided = _PARENT[codes] == DIVIDED
        nodes[places[divided]] = codes[divided]
        places, after = np.empty(counts.shape, np.int32), places + 1
        for place, count in zip(_eighths(places), _eighths(counts), strict=True):
            place[...] = after
            after = after + count
        places = places[inner]
    return Octree(cell_m, nodes)


def octree_cells(grid: VoxelGrid) -> tuple[int, float]:
    """Into how many of OctoMap's cells an edge of a voxel is divided, and the cell's edge, metres.

    The borders of OctoMap's cells are at whole multiples of their edge.

    Raises:
        ValueError: the borders of the voxels are not.
    """
    for parts in range(1, FINEST + 1):
        cell_m = grid.resolution_m / parts
        at = np.array(grid.origin_m) / cell_m
        if np.allclose(at, np.rint(at), atol=1e-3):
            return parts, cell_m
    raise ValueError(
        f"the grid's origin {grid.origin_m} m is at no multiple of an eighth or more of a voxel's "
        f"edge, {grid.resolution_m} m, as OctoMap wants it"
    )


def _eighths(volume: NDArray[Any]) -> list[NDArray[Any]]:
    """Views of the first, second … children of all nodes."""
    return [volume[x::2, y::2, z::2] for z in (0, 1) for y in (0, 1) for x in (0, 1)]


_PARENT = np.full(2**16, DIVIDED, np.uint8)  # what the children of a node make of it
_PARENT[[UNKNOWN * ALIKE, FREE * ALIKE, OCCUPIED * ALIKE]] = UNKNOWN, FREE, OCCUPIED

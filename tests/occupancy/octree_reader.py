"""OctoMap's binary octree read as its own source reads it, node by node."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from renderocc_ros.geometry import VoxelGrid

LEVELS = 16


def read_leaves(data: bytes) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Lowest cell of each leaf, counted from the origin, its edge in cells, and its two bits."""
    words = iter(np.frombuffer(data, "<u2").tolist())

    def below(key: tuple[int, ...], edge: int) -> Iterator[tuple[tuple[int, ...], int, int]]:
        word, divided = next(words), []
        for child in range(8):
            bits = word >> 2 * child & 3
            at = tuple(low + edge * (child >> axis & 1) for axis, low in enumerate(key))
            if bits == 3:
                divided.append(at)
            elif bits:
                yield at, edge, bits
        for at in divided:
            yield from below(at, edge // 2)

    if data:
        yield from below((-(2 ** (LEVELS - 1)),) * 3, 2 ** (LEVELS - 1))
    assert next(words, None) is None, "more nodes than the tree has"


def read_states(data: bytes, cell_m: float, grid: VoxelGrid) -> np.ndarray:
    """(X, Y, Z) the two bits of each voxel: 0 unknown, 1 free, 2 occupied."""
    parts = round(grid.resolution_m / cell_m)
    first = np.rint(np.array(grid.origin_m) / cell_m).astype(int)
    cells = np.zeros([size * parts for size in grid.size], np.uint8)
    for at, edge, bits in read_leaves(data):
        low = np.array(at) - first
        assert (low >= 0).all() and (low + edge <= cells.shape).all(), "a leaf outside of the grid"
        cells[tuple(slice(start, start + edge) for start in low)] = bits
    voxels = cells[::parts, ::parts, ::parts]
    assert np.array_equal(cells, np.kron(voxels, np.ones((parts,) * 3, np.uint8)))
    return voxels

"""What no image is needed for: the best scores of labels that depend on height alone.

Roads are flat and grids lie level, so a slab of "occupied" at the height of the road already has
half of all occupied voxels. A score says something of a network only as far as it exceeds that of
the best constant: whole height layers of one label, the same in every frame, chosen with the truth
at hand for that very score. Its few choices, one a layer, cannot learn a street by heart; one label
for each voxel could, where frames are few.

Z is the number of height layers, C that of occupied classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Counts = NDArray[np.int64]


def best_layers(occupied: Counts, free: Counts) -> NDArray[np.bool_]:
    """(Z,) the layers that, called occupied, have the best IoU of all 2^Z sets of layers.

    IoU(S) = Σ_S occupied / (Σ occupied + Σ_S free). The best set holds the layers with
    occupied > IoU · free (Dinkelbach 1967), so it is the first few in the order of occupied : free.

    Args:
        occupied, free: (Z,) voxels of each layer.
    """
    order = np.argsort(-_share(occupied, occupied + free), kind="stable")
    both, wrong = np.cumsum(occupied[order]), np.cumsum(free[order])
    taken = int(np.argmax(_share(both, occupied.sum() + wrong))) + 1
    chosen = np.zeros(len(order), bool)
    chosen[order[:taken]] = occupied.any()
    return chosen


def best_classes(layers: Counts, among: Sequence[int]) -> NDArray[np.intp]:
    """(Z,) a class for each layer, or free = C, such that the mean IoU of some classes is best.

    The search gives one layer after the other the label that betters the mean most, until none
    does. It begins with the best layers of each class alone, so no set of layers of one class has
    more, and with the best choice of one layer for each class; the best end counts.

    Args:
        layers: (Z, C + 1) voxels of each layer by their true label, free last.
        among: classes of the mean; those that the truth lacks do not count.
    """
    free, present = layers.shape[1] - 1, layers.sum(axis=0)
    classes = [c for c in among if present[c]]
    hits, sizes, wanted = layers[:, classes], layers.sum(axis=1), present[classes]
    starts = [
        np.where(best_layers(counts, sizes - counts), start, len(classes))
        for start, counts in enumerate(hits.T)
    ]
    alone = _share(hits, wanted + sizes[:, None] - hits)
    chosen, owners = linear_sum_assignment(alone, maximize=True)
    starts.append(np.full(len(layers), len(classes)))
    starts[-1][chosen] = owners
    for places in starts:
        while _improve(places, hits, sizes, wanted):
            pass
    best = max(starts, key=lambda places: _class_ious(places, hits, sizes, wanted).sum())
    labels: NDArray[np.intp] = np.array([*classes, free])[best]
    return labels


def _improve(places: NDArray[np.intp], hits: Counts, sizes: Counts, wanted: Counts) -> bool:
    """Give each layer in turn its best label, all others held; whether that changed anything."""
    changed = False
    for layer, old in enumerate(places):
        places[layer] = len(wanted)  # free
        without = _class_ious(places, hits, sizes, wanted)
        right, size = _taken(places, hits, sizes)
        right, size = right + hits[layer], size + sizes[layer]
        gain = np.append(_share(right, wanted + size - right) - without, 0.0)
        new = int(np.argmax(gain))
        places[layer] = new if gain[new] > gain[old] + 1e-12 else old
        changed |= bool(places[layer] != old)
    return changed


def _class_ious(
    places: NDArray[np.intp], hits: Counts, sizes: Counts, wanted: Counts
) -> NDArray[np.float64]:
    right, size = _taken(places, hits, sizes)
    return _share(right, wanted + size - right)


def _taken(places: NDArray[np.intp], hits: Counts, sizes: Counts) -> tuple[Counts, Counts]:
    """(K,) voxels that a class is given rightly, and all that it is given."""
    given = places[:, None] == np.arange(hits.shape[1])
    return (hits * given).sum(axis=0), (sizes[:, None] * given).sum(axis=0)


def _share(part: Counts, whole: Counts) -> NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1))

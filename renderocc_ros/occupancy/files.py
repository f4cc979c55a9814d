"""A result as a file that numpy reads, in the words of Occ3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy


def save_occupancy(occupancy: SemanticOccupancy, folder: str) -> Path:
    """Write ``<stamp_ns>.npz``: semantics and confidence (X, Y, Z) uint8, mask_camera if known,
    origin_m, resolution_m, stamp_ns, and class_names in the order of their ids, free last.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = Path(folder).expanduser() / f"{occupancy.stamp_ns}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "semantics": occupancy.labels,
        "confidence": occupancy.confidence,
        "origin_m": np.array(occupancy.grid.origin_m),
        "resolution_m": np.array(occupancy.grid.resolution_m),
        "stamp_ns": np.array(occupancy.stamp_ns),
        "class_names": np.array([*occupancy.class_set.names, "free"]),
    }
    if occupancy.observed is not None:
        arrays["mask_camera"] = occupancy.observed.astype(np.uint8)
    np.savez_compressed(path, **arrays)
    return path

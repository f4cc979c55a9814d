"""Data sets of several layouts as drives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from renderocc_training.dataset.frames import Drive

DataFormat = Literal["nuscenes", "semantickitti", "ddad"]


def open_drives(
    root: Path,
    format: DataFormat = "nuscenes",
    version: str | None = None,
    scenes: Sequence[str] = (),
) -> list[Drive]:
    """The drives of a data set.

    Args:
        root: its folder.
        format: "nuscenes" (also what ``extract`` writes), "semantickitti" or "ddad".
        version: folder of nuScenes tables; the only one there if not given.
        scenes: names of scenes (sequences); all if empty.

    Raises:
        ValueError: the data set is not whole, or a scene is not there.
    """
    if not root.is_dir():
        raise ValueError(f"data set folder {root} is not there")
    if format == "semantickitti":
        from renderocc_training.dataset.semantickitti_drives import semantickitti_drives

        return semantickitti_drives(root, scenes)
    if format == "ddad":
        from renderocc_training.dataset.ddad_drives import ddad_drives

        return ddad_drives(root, scenes)
    from renderocc_training.dataset.nuscenes_drives import nuscenes_drives

    return nuscenes_drives(root, version or _only_version(root), scenes)


def _only_version(root: Path) -> str:
    found = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    if len(found) != 1:
        there = f"there are {', '.join(found)}" if found else "there is none"
        raise ValueError(f"{root}: which tables? {there}; give --version")
    return found[0]

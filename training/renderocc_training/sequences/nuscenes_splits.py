"""The official splits of nuScenes as its devkit lists them."""

from __future__ import annotations

from collections.abc import Sequence

SPLITS = ("train", "val", "test", "mini_train", "mini_val", "train_detect", "train_track")


def with_splits(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Names with each split replaced by those of its scenes that a data set has.

    Args:
        names: of scenes or of splits ("val"); a scene that is called as a split is meant itself.
        known: all scenes of the data set.

    Raises:
        ValueError: nuscenes-devkit, which lists the splits, is not installed, or the data set has
            no scene of a split.
    """
    expanded: list[str] = []
    for name in names:
        expanded += [name] if name in known or name not in SPLITS else _scenes(name, known)
    return list(dict.fromkeys(expanded))


def _scenes(split: str, known: Sequence[str]) -> list[str]:
    try:
        from nuscenes.utils.splits import create_splits_scenes  # of the extra `train`
    except ImportError as error:
        raise ValueError(
            f"'{split}' is a split of nuScenes, which nuscenes-devkit lists: pip install "
            "'nuscenes-devkit', or name the scenes (it does not install on Python 3.13 and later)"
        ) from error
    listed = set(create_splits_scenes()[split])
    scenes = [name for name in known if name in listed]
    if not scenes:
        raise ValueError(
            f"no scene of the split '{split}' is there; there are {len(known)}: "
            f"{', '.join(sorted(known)[:20])}"
        )
    return scenes

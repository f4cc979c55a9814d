"""What several tests need: shipped class sets, and recordings where they are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set

RECORDINGS = Path(
    os.environ.get("RENDEROCC_SHARED", Path(__file__).resolve().parents[2] / "shared")
)

ROS_FOLDERS = {"node", "underlay"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in the folders about ROS, for ``./run test --ros``."""
    for item in items:
        if ROS_FOLDERS & set(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker(pytest.mark.ros)


def find_recording(*parts: str) -> Path:
    path = RECORDINGS.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"no recording {'/'.join(parts)}: set RENDEROCC_SHARED to their folder")
    return path


@pytest.fixture(scope="session")
def recording() -> Callable[..., Path]:
    """Finds a file or folder of the recordings; skips the test where they are not at hand."""
    return find_recording


@pytest.fixture(scope="session")
def occ3d() -> ClassSet:
    return load_class_set("occ3d")


@pytest.fixture(scope="session")
def occ3d_truth() -> dict[str, np.ndarray]:
    """The arrays of a real Occ3D-nuScenes truth file."""
    with np.load(find_recording("data", "occ3d", "labels.npz")) as arrays:
        return dict(arrays)

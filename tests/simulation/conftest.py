"""Small rigs and drives that several tests look at; each is made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderocc_simulation.drive import write_drive
from renderocc_simulation.faults import parse_fault
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec

NODE_RIG = """
name: small
cameras:
  - {name: ahead, image_topic: ahead/image_raw, offset_ms: 0.0}
  - {name: behind, image_topic: behind/image_raw, offset_ms: 20.0}
"""
SIMULATED_RIG = """
name: small
rig: RIG
cameras:
  - {name: ahead, position_m: [1.5, 0, 1.5], width: 640, height: 480, fov_deg: 80}
  - {name: behind, position_m: [0, 0, 1.5], yaw_deg: 180, width: 640, height: 480, fov_deg: 80}
lidar: {name: LIDAR, position_m: [0.8, 0, 1.8], rings: 16, columns: 300}
"""
FAULTS = (
    "dropped-camera@0.5+0.25:behind",
    "frozen-image@1+0.25:behind",
    "jpeg-corruption@1+0.5:ahead",
    "overexposure@0.25+0.25:ahead=4",
    "late-tf@0.5+0.5=0.4",
    "wrong-extrinsics@1:behind=5",
    "clock-jump@1.5=-3",
)


@pytest.fixture(scope="session")
def small_rig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pinhole cameras and a LiDAR."""
    folder = tmp_path_factory.mktemp("rig")
    (folder / "node.yaml").write_text(NODE_RIG)
    path = folder / "simulated.yaml"
    path.write_text(SIMULATED_RIG.replace("RIG", str(folder / "node.yaml")))
    return path


@pytest.fixture(scope="session")
def small_spec(small_rig: Path) -> DriveSpec:
    """Two sets of a small drive."""
    town = TownSpec(seed=3, seconds=1.0, light="day", traffic=8, walkers=8)
    return DriveSpec(town, str(small_rig), "tiny")


@pytest.fixture(scope="session")
def small_drive(small_spec: DriveSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drives") / "small"
    write_drive(small_spec, path)
    return path


@pytest.fixture(scope="session")
def faulty_drive(small_rig: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight sets at 4 Hz with every kind of fault."""
    town = TownSpec(seed=3, seconds=2.0, light="day", traffic=4, walkers=4)
    faults = tuple(parse_fault(text) for text in FAULTS)
    spec = DriveSpec(town, str(small_rig), "tiny", image_hz=4.0, key_hz=1.0, faults=faults)
    path = tmp_path_factory.mktemp("drives") / "faulty"
    write_drive(spec, path)
    return path


@pytest.fixture(scope="session")
def fisheye_drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of the shipped rig of four fisheye cameras, in a hold-out town."""
    town = TownSpec(seed=5, seconds=0.5, split="holdout", light="overcast", traffic=6, walkers=6)
    path = tmp_path_factory.mktemp("drives") / "fisheye"
    write_drive(DriveSpec(town, "surround_fisheye", "tiny", drift=0.02), path)
    return path

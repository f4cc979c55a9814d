"""Names from outside that files are called by lead nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderocc_ros.config import RigConfig, validate
from renderocc_ros.files import file_name
from renderocc_ros.geometry import RigidTransform
from renderocc_training.sequences.extraction.identity import claim_name
from renderocc_training.sequences.model import Frame, LidarSweep, RecordedSequence

LEADING_ELSEWHERE = ("../up", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0b", "a\nb")
HERE = RigidTransform.identity()


@pytest.mark.parametrize("name", [*LEADING_ELSEWHERE, "x" * 300])
def test_names_that_are_no_file_names_are_refused_wherever_files_are_made_of_them(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="is no file name"):
        file_name(name, "name")
    with pytest.raises(ValueError, match=r"^token .* is no file name"):
        Frame(name, 0, 0, HERE, ())
    with pytest.raises(ValueError, match=r"^sequence .* is no file name"):
        RecordedSequence(name, Path(), (), ())
    with pytest.raises(ValueError, match=r"^sensor .* is no file name"):
        LidarSweep(name, 0, Path("f"), HERE, HERE, "nuscenes")
    with pytest.raises(ValueError, match=r"^recording .* is no file name"):
        claim_name(tmp_path, name, "owner")
    camera = {"name": name, "image_topic": "image"}
    with pytest.raises(ValueError, match=r"cameras\.0\.name"):
        validate({"name": "rig", "cameras": [camera]}, RigConfig, "rig")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["CAM_FRONT", "scene-0523[30:40]", "Straße 5", "..a", "x" * 150])
def test_others_are_taken_as_they_are(name: str) -> None:
    assert file_name(name, "name") == name

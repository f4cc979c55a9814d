"""nuScenes as people unpack it, and with tables that are damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.extraction.job import Job
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.pool import extract
from renderocc_training.sequences.nuscenes_tables import NEEDED, OF_BOXES

VERSION = "v1.0-mini"
Records = list[dict[str, Any]]


@pytest.fixture
def root(tiny_nuscenes: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_nuscenes, tmp_path / "data")
    return tmp_path / "data"


def edit(root: Path, table: str, change: Callable[[Records], Any]) -> None:
    file = root / VERSION / f"{table}.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def test_key_frames_are_enough(root: Path, tmp_path: Path) -> None:
    """The tables name sweeps, only samples/ is unpacked."""
    shutil.rmtree(root / "sweeps")
    (sequence,) = open_sequences(root)
    assert len(sequence) == 4 and all(frame.sweeps == () for frame in sequence.frames)
    reports = [
        extract([Job(root, tmp_path / f"{sweeps}", None, options, "nuscenes")], VERSION)[0]
        for sweeps in (False, True)
        for options in (ExtractOptions(sweeps=sweeps),)
    ]
    assert (reports[0].key_frames, reports[0].sweeps) == (4, 0)
    assert reports[1].scenes == [] and "(--no-sweeps)" in reports[1].problems[-1]


def test_what_may_be_missing_is_said(root: Path, tmp_path: Path) -> None:
    (sequence,) = open_sequences(root)
    assert sequence.road_mask == root / "maps" / "map.png"
    shutil.rmtree(root / "maps")
    (sequence,) = open_sequences(root)
    assert sequence.road_mask is None
    assert any("no road map" in problem for problem in sequence.problems)
    (root / VERSION / "map.json").unlink()
    data = json.loads((root / VERSION / "sample_data.json").read_text())
    tokens = [record["token"] for record in data if "LIDAR" in record["filename"]]
    seg = [{"token": t, "sample_data_token": t, "filename": f"lidarseg/{t}.bin"} for t in tokens]
    (root / VERSION / "lidarseg.json").write_text(json.dumps(seg))
    (sequence,) = open_sequences(root)
    assert f"{len(seg)} of {len(seg)} files of lidarseg.json are missing" in sequence.problems[0]
    assert all(frame.lidar and frame.lidar.labels is None for frame in sequence.frames)
    (report,) = extract([Job(root, tmp_path / "o", None, ExtractOptions(), "nuscenes")], VERSION)
    assert report.key_frames == 4 and "lidarseg.json" in report.problems[0]


def test_annotations_may_be_none(root: Path) -> None:
    """As in the test split."""
    for table in ("sample_annotation", "instance"):
        edit(root, table, lambda records: [])
    (sequence,) = open_sequences(root)
    assert len(sequence) == 4 and sequence.tracks == {}


@pytest.mark.parametrize("lost", [*([table] for table in OF_BOXES), [*OF_BOXES, "instance"]])
def test_tables_of_boxes_may_be_missing(root: Path, tmp_path: Path, lost: list[str]) -> None:
    (whole,) = open_sequences(root)
    for table in lost:
        (root / VERSION / f"{table}.json").unlink()
    (sequence,) = open_sequences(root)
    lacks = [problem for problem in sequence.problems if problem.startswith("no ")]
    assert lacks == [f"no {table}.json: {OF_BOXES[table]}" for table in OF_BOXES if table in lost]
    boxes = [box for frame in sequence.frames for box in frame.boxes]
    wanted = [box for frame in whole.frames for box in frame.boxes]
    assert len(boxes) == (0 if "sample_annotation" in lost else len(wanted)) and wanted
    for box, other in zip(boxes, wanted, strict=False):
        assert box.category == other.category and box.size_m == other.size_m
        assert box.attributes == (() if "attribute" in lost else other.attributes)
        assert box.visibility == ("" if "visibility" in lost else other.visibility)
    (report,) = extract([Job(root, tmp_path / "o", None, ExtractOptions(), "nuscenes")], VERSION)
    assert report.key_frames == 4 and set(lacks) <= set(report.problems)


def test_a_table_that_boxes_need_is_named(root: Path) -> None:
    (root / VERSION / "category.json").unlink()
    with pytest.raises(ValueError, match=r"which category.json does not have; unpack the tables"):
        open_sequences(root)


def test_scenes_without_samples_are_left_out_and_said(root: Path) -> None:
    """Tables that somebody cut down to a few scenes, but for scene.json."""
    empty = {"token": "0" * 32, "name": "scene-0001"}
    edit(root, "scene", lambda records: [records[0] | empty, *records])
    (sequence,) = open_sequences(root)
    assert sequence.name == "scene-9001"
    assert sequence.problems[0].endswith("sample.json belongs to them: scene-0001")
    with pytest.raises(ValueError, match="no record of sample.json belongs to it"):
        open_sequences(root, names=["scene-0001"])


def test_the_cure_of_a_missing_key_frame_is_another_one(root: Path, tmp_path: Path) -> None:
    next((root / "samples").rglob("*.jpg")).unlink()
    (report,) = extract([Job(root, tmp_path / "o", None, ExtractOptions(), "nuscenes")], VERSION)
    assert report.problems[-1].endswith("unpack the data set again")


def test_scenes_of_one_name_are_told_apart(root: Path) -> None:
    edit(
        root,
        "sample",
        lambda records: [
            each | {"scene_token": "scene" if number < 2 else "other"}
            for number, each in enumerate(records)
        ],
    )
    edit(root, "scene", lambda records: [*records, records[0] | {"token": "other"}])
    sequences = open_sequences(root)
    assert [(s.name, len(s)) for s in sequences] == [("scene-9001", 2), ("scene-9001-2", 2)]
    assert len(open_sequences(root, names=["scene-9001-2"])) == 1


@pytest.mark.parametrize("name", ["../../up", "a/b", ".."])
@pytest.mark.parametrize(
    ("table", "key"), [("sample", "token"), ("scene", "name"), ("sensor", "channel")]
)
def test_names_that_lead_elsewhere_are_refused(root: Path, table: str, key: str, name: str) -> None:
    edit(root, table, lambda records: [records[0] | {key: name}, *records[1:]])
    if table == "sample":
        for other in ("sample_data", "sample_annotation"):
            edit(
                root,
                other,
                lambda records: [
                    each | {"sample_token": name} if each["sample_token"] == "sample-0" else each
                    for each in records
                ],
            )
    with pytest.raises(ValueError, match="is no file name"):
        open_sequences(root)


def read(root: Path) -> None:
    open_sequences(root, as_recorded=True)


def refusal(root: Path) -> str | None:
    try:
        read(root)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("table", "key", "value", "message"),
    [
        (
            "sample_data",
            "ego_pose_token",
            "gone",
            "names 'gone', which ego_pose.json does not",
        ),
        ("sample_data", "timestamp", "now", "'timestamp' is 'now', not a whole number"),
        ("ego_pose", "rotation", [0, 0, 0, 0], "rotation and translation.*describes no rotation"),
        ("ego_pose", "translation", [1, 2], "'translation' is .*, not 3 finite numbers"),
        ("calibrated_sensor", "camera_intrinsic", [[1]], "'camera_intrinsic' is"),
        ("scene", "log_token", None, "'log_token' is None, not a text"),
    ],
)
def test_a_damaged_record_is_named_with_table_and_key(
    root: Path, table: str, key: str, value: Any, message: str
) -> None:
    edit(root, table, lambda records: [records[0] | {key: value}, *records[1:]])
    with pytest.raises(ValueError, match=f"{table}.json, record '[^']+'.*{message}"):
        read(root)


@pytest.mark.parametrize("table", [*NEEDED, *OF_BOXES, "instance", "category", "map"])
def test_whatever_is_damaged_gives_one_line(root: Path, table: str) -> None:
    """Every key of a record missing, null, and of another kind; and tables that are no tables."""
    file = root / VERSION / f"{table}.json"
    whole = file.read_text()
    records = json.loads(whole)
    broken: list[Any] = [{}, None, [None], [7], "text", [{}], [[]]]
    for key in records[0]:
        without = {name: value for name, value in records[0].items() if name != key}
        values: tuple[Any, ...] = (None, "x", -1, [], {}, [None], True, 1e400)
        changed = [without, *(records[0] | {key: value} for value in values)]
        broken += [[each, *records[1:]] for each in changed]
    for content in broken:
        file.write_text(json.dumps(content))
        output = refusal(root)
        assert output is None or re.search("json|no file name", output), output
        assert output is None or "\n" not in output
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{table}.json cannot be read"):
        read(root)

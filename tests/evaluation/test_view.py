"""`renderocc view` shows what a drive and its evaluation hold, without a display."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_ros.config import load_rig
from renderocc_training.commands.view import results_frames
from renderocc_training.evaluation.bag_frames import BagFrames
from renderocc_training.evaluation.results import read_results
from renderocc_training.recording.bag_reader import BagReader
from tests.evaluation.conftest import SETS

av = pytest.importorskip("av", reason="extra 'view' is not installed")
rr = pytest.importorskip("rerun", reason="extra 'view' is not installed")


def view(*arguments: str | Path) -> tuple[int, str]:
    command = ["view", *map(str, arguments), "--rig", "two_cameras"]
    result = CliRunner().invoke(app, command)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stderr


def test_a_bag_gives_images_lidar_and_truth_of_one_instant(drive: Path) -> None:
    frames = list(BagFrames(drive, load_rig("two_cameras")))
    assert len(frames) == SETS
    with BagReader(drive) as reader:
        recorded = [reader.decode(m) for m in reader.messages(["/ground_truth/occupancy"])]
    for frame, message in zip(frames, recorded, strict=True):
        assert frame.cameras is not None and frame.cameras.missing == ()
        assert frame.prediction is None and frame.truth is not None
        assert np.array_equal(frame.truth.labels.ravel(), message.labels)
        assert frame.truth.stamp_ns == frame.stamp_ns
        # The scan is in the ego frame: most of what it met are cells that are occupied.
        assert frame.lidar_m is not None and len(frame.lidar_m) > 500
        cells, inside = frame.truth.grid.index_of(frame.lidar_m)
        met = frame.truth.occupied[tuple(cells[inside].T)]
        assert met.mean() > 0.9


def test_results_stand_where_the_bag_had_them(drive: Path, evaluated: tuple[Path, Any]) -> None:
    results = read_results(evaluated[0] / "results")
    for kept, frame in zip(
        results_frames(results), BagFrames(drive, load_rig("two_cameras")), strict=True
    ):
        assert kept.cameras is not None and frame.cameras is not None
        for small, whole in zip(kept.cameras.images, frame.cameras.images, strict=True):
            assert small is not None and whole is not None
            assert np.allclose(small.ego_from_camera.matrix, whole.ego_from_camera.matrix)
            # The same point of the scene has the same place in both, in parts of the width.
            point = (1.0, 0.3, 8.0)
            places = [model.project(point)[0] + 0.5 for model in (small.model, whole.model)]
            widths = [model.width for model in (small.model, whole.model)]
            assert np.allclose(places[0] / widths[0], places[1] / widths[1], atol=2e-3)
        assert kept.truth is not None and frame.truth is not None
        assert np.array_equal(kept.truth.labels, frame.truth.labels)
        assert kept.prediction is not None and kept.prediction.occupied.any()


def test_rerun_gets_every_frame_at_its_time(
    drive: Path, evaluated: tuple[Path, Any], tmp_path: Path, occ3d: ClassSet
) -> None:
    code, err = view(evaluated[0] / "results", "--save", tmp_path / "new" / "results.rrd")
    assert code == 0, err
    table = read_rrd(tmp_path / "new" / "results.rrd")
    results = read_results(evaluated[0] / "results")
    assert table.num_rows == SETS
    stamps = [value.value for value in table.column("time")]
    assert stamps == [frame.stamp_ns for frame in results.frames]
    for number, frame in enumerate(results.frames):
        truth = results.truth(frame.token)
        assert truth is not None
        for name in ("driveable_surface", "manmade"):
            centres = value_of(table, f"/world/ego/truth/{name}:PoseTranslation3D", number)
            cells, inside = results.grid.index_of(np.array(centres))
            assert inside.all() and (truth.labels[tuple(cells.T)] == occ3d.id_of(name)).all()
            assert len(centres) == len(np.unique(cells, axis=0)) > 20
        camera = results.cameras(frame)
        assert camera is not None and camera.images[0] is not None
        place = value_of(table, f"/world/ego/cameras/{camera.names[0]}:Translation3D", number)
        assert np.allclose(place, camera.images[0].ego_from_camera.translation, atol=1e-5)


def read_rrd(path: Path) -> Any:
    recording = rr.dataframe.load_recording(str(path))
    return recording.view(index="frame", contents="/world/**").select().read_all()


def value_of(table: Any, column: str, row: int) -> Any:
    return table.column(column)[row].as_py()


def test_a_film_has_the_pace_of_the_drive(evaluated: tuple[Path, Any], tmp_path: Path) -> None:
    folder = evaluated[0] / "results"
    arguments = ("--seconds", "0.6", "--width", "641", "--speed", "2")
    assert view(folder, "--save", tmp_path / "film.mp4", *arguments)[0] == 0
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]
    stamps = [frame.stamp_ns for frame in read_results(folder).frames[:2]]
    due_s = [(stamp_ns - stamps[0]) * 1e-9 / 2 for stamp_ns in stamps]
    assert [time for time, _ in shown] == pytest.approx([*due_s, due_s[-1] + 0.5], abs=2e-3)
    assert shown[0][1].shape[1] == 640 and shown[0][1].shape[0] % 2 == 0
    # Truth, in the right half, is another picture than the prediction, in the left one.
    road = [(abs(picture.astype(int) - (255, 0, 255)) < 60).all(axis=-1) for _, picture in shown]
    for picture in road:
        left, right = picture[:, :320], picture[:, 320:]
        assert right.sum() > 500 and (left != right).sum() > 200


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_a_moving_picture_and_no_truth(
    evaluated: tuple[Path, Any], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"film.{kind}"
    code, err = view(
        evaluated[0] / "results", "--save", path, "--start", "0.9", "--no-truth", "--width", "320"
    )
    assert code == 0, err
    with Image.open(path) as film:
        assert (film.n_frames, film.width) == (2, 320)
        film.load()
        assert film.info["duration"] == pytest.approx(500, abs=20)


def test_cameras_left_of_the_voxels(evaluated: tuple[Path, Any], tmp_path: Path) -> None:
    path = tmp_path / "beside.png"
    code, err = view(evaluated[0] / "results", "--save", path, "--no-truth", "--beside")
    assert code == 0, err
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    road = (abs(picture - (255, 0, 255)) < 60).all(axis=-1)
    key, voxels = road[:, :860].sum(), road[:, 860:].sum()
    assert picture.shape[1] == 1920 and voxels > 5000 and 400 < key < 700  # a box of 25 x 27


def test_a_bag_of_voxels_alone_is_a_picture(evaluated: tuple[Path, Any], tmp_path: Path) -> None:
    """Through the command of the robot's side, as a process."""
    path = tmp_path / "voxels.png"
    command = [sys.executable, "-m", "renderocc_ros.cli", "view", str(evaluated[0] / "bag")]
    done = subprocess.run(
        [*command, "--save", str(path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    road = (abs(picture - (255, 0, 255)) < 60).all(axis=-1)
    assert picture.shape[1] == 1920 and road[:, 960:].sum() > 5000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--save", "film.avi"), "written as .png, .jpg, .mp4, .gif, .webp, .rrd"),
        ((), "there is no display here: write a file with --save"),
        (("--save", "x.png", "--truth-topic", "/nothing"), "no renderocc_ros/msg"),
        (
            ("--save", "x.png", "--lidar-topic", "/nothing"),
            "--lidar-topic: no '/nothing'; there is /",
        ),
        (("--save", "x.png", "--start", "60"), "nothing to show"),
    ],
)
def test_what_cannot_be_shown_is_said(
    drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, err = view(drive, *arguments)
    assert code == 1 and complaint in err.replace("\n", " ")

"""`renderocc labels` on a small SemanticKITTI, as a user calls it."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from box_world import STREET

from renderocc_ros.class_set import ClassSet
from renderocc_ros.paths import share_path
from renderocc_training.commands import labels
from renderocc_training.commands._label_options import chosen_label_source
from renderocc_training.commands.train import train
from renderocc_training.sequences.data_sets import DataFormat, open_sequences
from renderocc_training.supervision.labels.label_source import (
    default_mapping,
    load_label_source,
    open_store,
)
from renderocc_training.supervision.labels.mapping import load_boxes, load_names, load_numbers

KITTI = ("--format", "semantickitti", "--semantics", "points")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return renderocc_train("labels", *arguments)


def renderocc_train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "renderocc_ros.cli", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    STREET.record_semantickitti(root, frames=3)
    return root


def test_make_resumes_and_show_draws(root: Path, tmp_path: Path) -> None:
    made = run("make", root, "--out", tmp_path, *KITTI)
    assert made.returncode == 0, made.stderr
    assert "3 key frames, 0 of them labelled already" in made.stderr
    again = run("make", root, "--out", tmp_path, *KITTI, "--processes", "2")
    assert "3 key frames, 3 of them labelled already" in again.stderr
    next(tmp_path.glob("*/00_000001.npz")).unlink()
    third = run("make", root, "--out", tmp_path, *KITTI, "--processes", "2")
    assert third.returncode == 0 and "2 of them labelled already" in third.stderr, third.stderr
    assert len(list(tmp_path.glob("*/*.npz"))) == 3

    shown = run(
        "show", root, "--labels", tmp_path, "--out", tmp_path / "png", "--frames", "1", *KITTI
    )
    assert shown.returncode == 0, shown.stderr
    picture = cv2.imread(str(tmp_path / "png" / "00-0001.png"))
    assert picture is not None and picture.shape[1] == 2 * 800
    # Road points in the lower half of the picture by class: the class set's magenta.
    magenta = (picture == (255, 0, 255)).all(axis=-1)
    assert magenta.sum() > 2000 and magenta[: len(picture) // 2].sum() == 0


def test_labels_of_a_semantickitti_world_are_exact(root: Path, occ3d: ClassSet) -> None:
    config = chosen_label_source("lidar", None, "points", {}, "semantickitti", root)
    sequence = open_sequences(root, "semantickitti")[0]
    store = open_store(config, occ3d, None)
    for frame in sequence.frames:
        result = store.labels(sequence, frame)
        for place, camera in enumerate(frame.cameras):
            assert camera is not None
            labels = result.of(result.camera == place).labels
            # The world of the files is the ego frame of the first image: STREET's own.
            pose = camera.world_from_sensor
            directions = camera.model.rays(labels.pixels) @ pose.rotation.T
            range_m, what = STREET.cast(pose.translation, directions, frame.stamp_ns * 1e-9)
            wrong = np.abs(labels.range_m - range_m) > 0.02 + 0.002 * range_m
            assert len(wrong) > 2000 and wrong.mean() < 0.03
            classes = np.array([4, 4, 7, 15, 15, 15, 11])[what]  # the last: ground, −1
            assert (labels.class_id == classes)[~wrong].mean() > 0.99


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "semantickitti"), "has no annotated boxes"),
        (
            ("--format", "semantickitti", "--depth", "images", "--semantics", "none"),
            "no label image",
        ),
        (
            ("--format", "semantickitti", "--set", "mapping=nothing"),
            "no class_mappings file 'nothing'",
        ),
        (("--format", "semantickitti", "--depth", "sonar"), "depth: Input should be"),
        (("--processes", "2", "--device", "cuda"), "a GPU takes one process"),
        (("--set", "ego_radius_m=-1"), "--set: ego_radius_m: Input should be"),
        (("--set", "ego_radius=2"), "unknown key 'ego_radius'; did you mean 'ego_radius_m'?"),
        (("--label-source", "radar"), "no label_sources file 'radar'"),
    ],
)
def test_mistakes_are_one_line(
    root: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = run("make", root, "--out", tmp_path, *options)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_point_labels_that_nobody_lists_are_named(root: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(root, tmp_path / "kitti")
    file = next(copied.rglob("000001.label"))
    raw = np.fromfile(file, "<u4")
    raw[:500] = 77
    raw.tofile(file)
    done = run("make", copied, "--out", tmp_path / "labels", *KITTI)
    assert done.returncode == 0
    message = " ".join(done.stderr.split())
    assert "000001.label: numbers that the mapping file does not list: 77 (500)" in message


def test_truth_of_another_data_set_is_never_overwritten(root: Path, tmp_path: Path) -> None:
    """Two data sets have a sequence 00 with frames of the same names: the second is refused."""
    other, out = tmp_path / "other", tmp_path / "gts"
    shutil.copytree(root, other)
    first = make_truth(root, out)
    assert first.returncode == 0, first.stderr
    made = {file: file.read_bytes() for file in out.rglob("*.npz")}
    assert made and make_truth(root, out).returncode == 0  # again is no other data set
    copied = tmp_path / "copied"
    shutil.copytree(root, copied)
    assert make_truth(copied, out).returncode == 0  # nor is the same elsewhere
    cloud = next(other.rglob("velodyne/000001.bin"))
    cloud.write_bytes(cloud.read_bytes()[:-160])
    cloud = next(other.rglob("labels/000001.label"))
    cloud.write_bytes(cloud.read_bytes()[:-40])
    second = make_truth(other, out, "r50")  # whose grid would have the files of another removed
    assert second.returncode == 1
    assert str(copied) in second.stderr.replace("\n", "") and "--out" in second.stderr
    assert {file: file.read_bytes() for file in out.rglob("*.npz")} == made


def make_truth(root: Path, out: Path, grid: str = "nano") -> subprocess.CompletedProcess[str]:
    return renderocc_train("truth", root, "--out", out, "--grid", grid, *KITTI)


def test_truth_that_lacks_a_held_out_frame_is_refused_before_training(
    root: Path, tmp_path: Path
) -> None:
    truth = renderocc_train("truth", root, "--out", tmp_path / "gts", "--grid", "nano", *KITTI)
    assert truth.returncode == 0, truth.stderr
    next((tmp_path / "gts").rglob("00_000002/labels.npz")).unlink()
    arguments = ("--out", tmp_path / "run", "--recipe", "debug", "--workers", "0", "--devices", "1")
    held_out = ("--held-out", "00[2:]", "--truth", tmp_path / "gts")
    done = renderocc_train("train", root, *arguments, *held_out, *KITTI)
    assert done.returncode == 1 and "no 3D labels of 00_000002" in done.stderr
    assert not (tmp_path / "run" / "steps.jsonl").exists()


def test_an_unknown_format_is_refused(root: Path, tmp_path: Path) -> None:
    done = run("make", root, "--out", tmp_path, "--format", "kitti")
    assert done.returncode == 2 and "'kitti' is not one of" in done.stderr


@pytest.mark.parametrize(
    ("semantics", "format", "mapping"),
    [
        ("boxes", "nuscenes", "nuscenes_boxes"),
        ("boxes", "ddad", "ddad_boxes"),
        ("points", "nuscenes", "nuscenes_lidarseg"),
        ("points", "semantickitti", "semantickitti"),
        ("segmentation", "ddad", "cityscapes"),
        ("images", "nuscenes", None),
    ],
)
def test_the_mapping_file_is_that_of_the_layout(
    semantics: str, format: DataFormat, mapping: str | None, tmp_path: Path
) -> None:
    assert default_mapping(semantics, format, tmp_path) == mapping


@pytest.mark.parametrize("command", ["labels", "truth"])
def test_what_recorded_point_labels_mean_must_be_said(command: str, tmp_path: Path) -> None:
    (tmp_path / "labels" / "points" / "LIDAR_TOP").mkdir(parents=True)
    arguments = ["labels", "make"] if command == "labels" else ["truth"]
    done = renderocc_train(*arguments, tmp_path, "--out", tmp_path / "out", "--semantics", "points")
    assert done.returncode == 1 and "--set mapping=occ3d_ids" in done.stderr
    done = renderocc_train(
        *arguments, tmp_path, "--out", tmp_path / "out", "--semantics", "points",
        "--set", "mapping=occ3d_ids",
    )  # fmt: skip
    assert "holds no tables of nuScenes" in done.stderr


@pytest.mark.parametrize("command", [labels.make, labels.show, train])
def test_every_command_takes_the_whole_label_source(command: Callable[..., None]) -> None:
    """Else labels of one command would be others than those that the next one looks for."""
    options = set(inspect.signature(command).parameters)
    assert {"label_source", "depth", "semantics", "settings"} <= options


@pytest.mark.parametrize(
    "file", sorted(share_path("config", "label_sources").glob("*.yaml")), ids=lambda f: f.stem
)
def test_every_shipped_label_source_reads_a_mapping_of_its_kind(file: Path) -> None:
    source = load_label_source(file.stem)
    load = {"boxes": load_boxes, "points": load_numbers, "segmentation": load_names}
    mapping = source.mapping or default_mapping(source.semantics)
    assert (mapping is None) == (source.semantics == "images")
    if mapping is not None:
        load[source.semantics](mapping)


def test_pictures_of_a_real_sequence(recording: Callable[..., Path], tmp_path: Path) -> None:
    root = recording("data", "nuscenes")
    done = run("show", root, "--out", tmp_path, "--frames", "1", "--semantics", "none")
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(tmp_path / "scene-0523-0020.png"))
    assert picture is not None and picture.shape == (1856, 2400, 3)


def test_a_layout_that_nobody_knows_is_refused(root: Path, tmp_path: Path) -> None:
    done = run("make", root, "--out", tmp_path, "--format", "kitti")
    assert done.returncode == 2
    assert "'nuscenes', 'semantickitti'" in done.stderr and "'ddad'" in done.stderr

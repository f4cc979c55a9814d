"""`renderocc evaluate` on a drive whose truth is exact."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from renderocc_ros.checkpoint import save_checkpoint
from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_ros.config import load_rig
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network_config import load_network_config
from renderocc_ros.prediction import Predictor
from renderocc_ros.prediction.models import untrained_model
from renderocc_training.evaluation.recorded_sets import RecordedSets
from renderocc_training.evaluation.results import read_results
from renderocc_training.evaluation.sequence_rays import sequence_ray_scores
from renderocc_training.evaluation.sequence_sets import SequenceSets
from renderocc_training.evaluation.voxel_scores import confusion_matrix, no_counts, voxel_scores
from renderocc_training.recording import messages
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.bag_writer import BagWriter
from renderocc_training.sequences.data_sets import open_sequences
from tests.evaluation.conftest import SETS, evaluate

TRUTH = "/ground_truth/occupancy"


def copied(source: Path, target: Path, change: Any) -> Path:
    """The bag again, each message as ``change(topic, message)`` returns it; None leaves it out."""
    with BagReader(source) as reader, BagWriter(target) as writer:
        for message in reader.messages():
            decoded = change(message.topic, reader.decode(message))
            if decoded is not None:
                writer.write(message.topic, decoded, message.log_time_ns)
    return target


def remade(message: Any, **changes: Any) -> Any:
    return messages.make(
        message.__msgtype__,
        **{
            key: changes.get(key, getattr(message, key))
            for key in message.__dataclass_fields__
            if key != "__msgtype__"
        },
    )


def test_every_set_is_scored_and_the_scores_are_those_of_the_files(
    evaluated: tuple[Path, Any], occ3d: ClassSet
) -> None:
    folder, output = evaluated
    results = read_results(folder / "results")
    assert output["frames_evaluated"] == output["frames_scored"] == len(results.frames) == SETS
    matrix = no_counts(len(occ3d))
    for frame in results.frames:
        truth, predicted = results.truth(frame.token), results.prediction(frame.token)
        assert truth is not None and predicted is not None
        counts = confusion_matrix(truth.labels, predicted.labels, occ3d, truth.mask_camera)
        assert np.array_equal(results.counts[frame.token].confusion, counts)
        assert frame.scores["iou"] == pytest.approx(voxel_scores(counts).iou)
        matrix += counts
    expected = voxel_scores(matrix)
    assert output["scores"]["miou"] == pytest.approx(expected.miou)
    assert output["scores"]["iou"] == pytest.approx(expected.iou)
    assert np.array_equal(said_confusion(folder), matrix)
    assert sum(ring["voxels"] for ring in output["rings"]) == matrix.sum()
    assert sum(output["calibration"]["voxels"]) == matrix.sum()


def said_confusion(folder: Path) -> np.ndarray:
    return np.array(json.loads((folder / "results" / "results.json").read_text())["confusion"])


def test_the_truth_kept_is_that_of_the_bag(evaluated: tuple[Path, Any], drive: Path) -> None:
    results = read_results(evaluated[0] / "results")
    with BagReader(drive) as reader:
        recorded = [reader.decode(message) for message in reader.messages([TRUTH])]
    for frame, message in zip(results.frames, recorded, strict=True):
        truth = results.truth(frame.token)
        assert truth is not None
        assert np.array_equal(truth.labels.ravel(), message.labels)
        assert np.array_equal(truth.mask_camera.ravel(), message.observed.astype(bool))


def test_score_reads_the_same_files_with_the_same_result(evaluated: tuple[Path, Any]) -> None:
    folder, output = evaluated
    arguments = [str(folder / "results" / name) for name in ("predictions", "truth")]
    command = ["score", *arguments, "--json", "--processes", "1"]
    scored = CliRunner().invoke(app, command)
    assert scored.exit_code == 0, scored.stderr
    assert json.loads(scored.stdout)["miou"] == pytest.approx(output["scores"]["miou"])
    with np.load(next((folder / "results" / "predictions").glob("*.npz"))) as arrays:
        assert arrays["semantics"].shape == (100, 100, 8) and arrays["semantics"].dtype == np.uint8
    tables = {row["token"]: row for row in csv.DictReader((folder / "results/frames.csv").open())}
    results = read_results(folder / "results")
    for frame in results.frames:
        assert float(tables[frame.token]["miou"]) == pytest.approx(frame.scores["miou"])
    classes = list(csv.DictReader((folder / "results/classes.csv").open()))
    assert [row["class"] for row in classes] == list(output["scores"]["class_iou"])


def test_it_gives_the_same_twice_and_does_what_the_predictor_does(
    evaluated: tuple[Path, Any], drive: Path, tmp_path: Path
) -> None:
    code, _, err = evaluate(drive, "--out", tmp_path / "again", "--no-images")
    assert code == 0, err
    first, again = read_results(evaluated[0] / "results"), read_results(tmp_path / "again")
    predictor = Predictor.from_name("nano", threads=1)
    image = load_network_config("nano").image
    sets = list(RecordedSets(drive, load_rig("two_cameras"), image))
    assert [frame.stamp_ns for frame in first.frames] == [each.stamp_ns for each in sets]
    for frame, camera_set in zip(first.frames, sets, strict=True):
        labels = first.prediction(frame.token), again.prediction(frame.token)
        assert labels[0] is not None and labels[1] is not None
        assert np.array_equal(labels[0].labels, labels[1].labels)
        assert np.array_equal(labels[0].labels, predictor.predict(camera_set).labels)
    assert not (tmp_path / "again" / "images").exists()


def test_each_camera_stands_where_it_was_at_its_own_stamp(drive: Path) -> None:
    rig = load_rig("two_cameras")
    sets = list(RecordedSets(drive, rig, load_network_config("nano").image))
    with BagReader(drive) as reader:
        odom = {}
        for message in reader.messages(["/tf"]):
            for entry in reader.decode(message).transforms:
                stamp = entry.header.stamp
                q, t = entry.transform.rotation, entry.transform.translation
                odom[stamp.sec * 10**9 + stamp.nanosec] = RigidTransform.from_quaternion(
                    (q.x, q.y, q.z, q.w), (t.x, t.y, t.z)
                )
        static = {
            entry.child_frame_id: entry.transform.translation
            for message in reader.messages(["/tf_static"])
            for entry in reader.decode(message).transforms
        }
    moved = sets[-1].odom_from_ego.translation - sets[0].odom_from_ego.translation
    assert np.linalg.norm(moved) > 3.0
    for each in sets:
        near = min(odom, key=lambda stamp: abs(stamp - each.stamp_ns))
        assert np.allclose(each.odom_from_ego.translation, odom[near].translation, atol=0.2)
        for camera, posed in zip(rig.cameras, each.images, strict=True):
            mount = next(m for frame, m in static.items() if camera.name in frame)
            shift = posed.ego_from_camera.translation - (mount.x, mount.y, mount.z)
            late_s = (posed.stamp_ns - each.stamp_ns) * 1e-9
            assert np.linalg.norm(shift) <= 12 * abs(late_s) + 1e-9


def test_predictions_go_back_into_a_bag(evaluated: tuple[Path, Any]) -> None:
    folder, _ = evaluated
    results = read_results(folder / "results")
    with BagReader(folder / "bag") as reader:
        dense = [reader.decode(m) for m in reader.messages(["/renderocc/occupancy"])]
        clouds = [reader.decode(m) for m in reader.messages(["/renderocc/points"])]
        assert reader.topics["/renderocc/classes"].latched
        assert reader.topics["/tf"].count == SETS
    for frame, message, cloud in zip(results.frames, dense, clouds, strict=True):
        predicted = results.prediction(frame.token)
        assert predicted is not None
        assert np.array_equal(message.labels, predicted.labels.ravel())
        shown = predicted.occupied & message.observed.reshape(predicted.grid.size).astype(bool)
        assert 0 < cloud.width == shown.sum() < predicted.occupied.sum()
        points = cloud.data.view(np.uint8).reshape(-1, cloud.point_step)
        first = np.argwhere(shown)[0]
        xyz = points[0, :12].view("<f4")
        assert np.allclose(xyz, predicted.grid.centres(first), atol=1e-5)


def test_rendered_views_are_scored_without_any_voxel_truth(drive: Path, tmp_path: Path) -> None:
    bag = copied(drive, tmp_path / "flat", lambda t, m: None if "occupancy" in t else m)
    code, out, err = evaluate(bag, "--out", tmp_path / "out", "--views", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["frames_scored"] == 0 and "miou" not in report["scores"]
    assert {"what": "scores", "why": "no truth at its time", "count": SETS} in report["skipped"]
    assert any("it has no 3D truth" in text for text in report["problems"])
    assert report["views"]["depth_pixels"] > 1000
    assert 0.0 < report["views"]["depth_abs_rel"] < 2.0
    assert len(list((tmp_path / "out" / "images").rglob("*.depth.jpg"))) == 2 * SETS


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("class_table", "waymo", "the classes 'waymo', the model 'occ3d'"),
        ("resolution", 0.4, "resolution_m=0.4,"),
    ],
)
def test_truth_that_does_not_fit_is_refused(
    drive: Path, tmp_path: Path, field: str, value: Any, complaint: str
) -> None:
    def change(topic: str, message: Any) -> Any:
        if topic != TRUTH:
            return message
        return remade(message, **{field: value})

    bag = copied(drive, tmp_path / "other", change)
    code, _, err = evaluate(bag, "--out", tmp_path / "out")
    assert code == 1 and complaint in err
    assert not (tmp_path / "out" / "results.json").exists()


def test_frames_without_truth_are_counted_not_scored_as_zero(drive: Path, tmp_path: Path) -> None:
    seen = []

    def change(topic: str, message: Any) -> Any:
        if topic == TRUTH:
            seen.append(topic)
            return None if len(seen) == 2 else message
        return message

    code, out, err = evaluate(
        copied(drive, tmp_path / "gap", change), "--out", tmp_path / "out", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["frames_evaluated"] == SETS and report["frames_scored"] == SETS - 1
    frames = read_results(tmp_path / "out").frames
    assert [frame.unscored for frame in frames] == ["", "no truth at its time", "", ""]
    assert "miou" not in frames[1].scores


def test_a_broken_image_is_counted_and_its_camera_missing(drive: Path, tmp_path: Path) -> None:
    hurt: list[str] = []

    def change(topic: str, message: Any) -> Any:
        if topic.endswith("image_raw") and not hurt:
            hurt.append(topic)
            message = remade(message, data=message.data[:400])
        return message

    code, out, err = evaluate(
        copied(drive, tmp_path / "hurt", change), "--out", tmp_path / "out", "--json"
    )
    assert code == 0, err
    assert any(
        entry["what"].startswith("images of") and "too little" in entry["why"]
        for entry in json.loads(out)["skipped"]
    )
    frames = read_results(tmp_path / "out").frames
    assert sum(bool(frame.missing) for frame in frames) == 1


def test_an_existing_result_is_not_overwritten(evaluated: tuple[Path, Any], drive: Path) -> None:
    code, _, err = evaluate(drive, "--out", evaluated[0] / "results")
    assert code == 1 and "is not empty" in err


def test_occ3d_files_are_found_by_stamp_and_a_damaged_one_is_named(
    evaluated: tuple[Path, Any], drive: Path, tmp_path: Path
) -> None:
    results = read_results(evaluated[0] / "results")
    for frame in results.frames[:3]:
        source = results.folder / "truth" / frame.token / "labels.npz"
        target = tmp_path / "gts" / str(frame.stamp_ns) / "labels.npz"
        target.parent.mkdir(parents=True)
        target.write_bytes(source.read_bytes())
    target.write_bytes(target.read_bytes()[:-40])
    code, out, err = evaluate(
        drive, "--out", tmp_path / "out", "--truth", tmp_path / "gts", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["frames_scored"] == 2 and report["frames_evaluated"] == SETS
    (why,) = [each["why"] for each in report["skipped"] if "labels.npz" in each["why"]]
    assert why.startswith(f"{target} is broken")
    again = read_results(tmp_path / "out")
    for token, counts in again.counts.items():
        assert np.array_equal(counts.confusion, results.counts[token].confusion)


def test_the_threshold_decides_what_is_occupied(drive: Path, tmp_path: Path) -> None:
    code, out, err = evaluate(
        drive, "--out", tmp_path / "out", "--no-images", "--json", "--threshold", "1"
    )
    assert code == 0, err
    report = json.loads(out)
    assert report["model"]["threshold"] == 1.0
    assert report["scores"]["recall"] == 0.0 and report["scores"]["precision"] is None
    assert report["frames_scored"] == SETS


def test_rays_start_at_the_lidar_of_every_frame(drive: Path, tmp_path: Path) -> None:
    code, out, err = evaluate(drive, "--out", tmp_path / "out", "--rays", "--no-images", "--json")
    assert code == 0, err
    report = json.loads(out)["ray_iou"]
    assert report["samples"] == SETS and 0 <= report["ray_iou"] < 0.5
    assert report["at_m"]["1"] <= report["at_m"]["2"] <= report["at_m"]["4"]
    # The truth in the place of the predictions scores 1, by the same function.
    folder = tmp_path / "out"
    results = read_results(folder)
    poses = {"town": {f.token: RigidTransform.identity() for f in results.frames}}
    for frame in results.frames:
        true = folder / "truth" / frame.token / "labels.npz"
        (folder / "predictions" / f"{frame.token}.npz").write_bytes(true.read_bytes())
    perfect = sequence_ray_scores(folder, poses, results.grid, results.class_set, (0.9, 0.0, 1.8))
    assert perfect["ray_iou"] == 1.0 and perfect["at_m"] == {"1": 1.0, "2": 1.0, "4": 1.0}


def test_two_bags_of_one_name_are_scored_apart(drive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / drive.name
    shutil.copytree(drive, other)
    code, out, err = evaluate(drive, other, "--out", tmp_path / "out", "--json", "--no-images")
    assert code == 0, err
    content = json.loads(out)
    frames = read_results(tmp_path / "out").frames
    assert len(frames) == len({frame.token for frame in frames}) == content["frames_scored"] == 8
    assert {frame.source for frame in frames} == {"town", "town-2"}
    assert f"{other}: called 'town-2', there is another 'town'" in content["problems"]


def test_nuscenes_folders_are_evaluated_in_the_frame_of_their_truth(
    recording: Any, tmp_path: Path
) -> None:
    devkit = pytest.importorskip(
        "nuscenes.nuscenes", reason="nuscenes-devkit needs Python below 3.13"
    )
    root = recording("data", "nuscenes")
    database = devkit.NuScenes("v1.0-mini", str(root), verbose=False, map_resolution=1.0)
    (sequence,) = open_sequences(root, as_recorded=True)
    sets = SequenceSets(sequence, load_rig("nuscenes"), load_network_config("nano").image)
    token, first = next(iter(sets))
    sample = database.get("sample", token)
    assert first.stamp_ns == sample["timestamp"] * 1000 and first.missing == ()
    # The devkit's own chain, for a LiDAR point: into the ego frame of the LiDAR's stamp.
    lidar = database.get("sample_data", sample["data"]["LIDAR_TOP"])
    global_from_ego = pose_of(database.get("ego_pose", lidar["ego_pose_token"]))
    for posed in first.images:
        assert posed is not None
        record = database.get("sample_data", sample["data"][posed.name])
        present = pose_of(database.get("ego_pose", record["ego_pose_token"]))
        mount = pose_of(database.get("calibrated_sensor", record["calibrated_sensor_token"]))
        expected = np.linalg.inv(global_from_ego) @ present @ mount
        assert np.allclose(posed.ego_from_camera.matrix, expected, atol=1e-9)
        assert posed.pixels.shape[:2] == (posed.model.height, posed.model.width)


def test_one_of_several_folders_of_tables_must_be_chosen(tmp_path: Path) -> None:
    for version in ("v1.0-mini", "v1.0-trainval"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "sample_data.json").write_text("[]")
    code, _, err = evaluate(tmp_path, "--out", tmp_path / "out")
    assert code == 1 and "has tables of v1.0-mini, v1.0-trainval: give one of" in err
    code, _, err = evaluate(tmp_path / "v1.0-mini", "--out", tmp_path / "other")
    assert code == 1 and "v1.0-mini lacks calibrated_sensor.json" in err


def pose_of(record: dict[str, Any]) -> np.ndarray:
    from nuscenes.utils.geometry_utils import transform_matrix
    from pyquaternion import Quaternion

    return transform_matrix(record["translation"], Quaternion(record["rotation"]))


def test_models_are_compared_on_a_bag(
    evaluated: tuple[Path, Any], drive: Path, tmp_path: Path
) -> None:
    """A result and a model; the same network both times, so nothing differs."""
    arguments = ["compare", str(evaluated[0] / "results"), "nano", "--bag", str(drive), "--json"]
    arguments += ["--rig", "two_cameras", "--block", "2", "--out", str(tmp_path)]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.stderr
    report = json.loads(run.stdout)
    assert (report["second"], report["frames"]) == ("nano", SETS)
    assert report["scores"]["iou"]["second"] == pytest.approx(evaluated[1]["scores"]["iou"])
    assert report["scores"]["iou"]["verdict"] == "no difference shown"
    assert read_results(tmp_path / "second").content["frames_scored"] == SETS


def test_a_model_without_a_bag_cannot_be_compared(evaluated: tuple[Path, Any]) -> None:
    run = CliRunner().invoke(app, ["compare", str(evaluated[0] / "results"), "new.safetensors"])
    assert run.exit_code == 1 and "--bag" in run.stderr


def test_a_model_that_gives_nan_is_said_and_not_scored(drive: Path, tmp_path: Path) -> None:
    model = untrained_model("nano", 0)
    with torch.no_grad():
        for weights in model.network.parameters():
            weights.mul_(1e30)  # finite, or it would not be loaded; what comes of it is not
    path = tmp_path / "huge.safetensors"
    save_checkpoint(model, path)
    command = ["evaluate", str(path), str(drive), "--rig", "two_cameras"]
    run = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert run.exit_code == 1
    output = run.stderr.replace("\n", " ")
    assert f"the model gives NaN or infinity; its weights? ({SETS})" in output

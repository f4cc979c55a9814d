"""nuScenes, SemanticKITTI and DDAD by their own layouts: recorded ones, and tiny ones made here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from renderocc_ros.cli import app
from renderocc_training.sequences.data_sets import open_sequences

KITTI_P0 = [[70.0, 0, 31, 0], [0, 70, 9, 0], [0, 0, 1, 0]]
CAM_AXES = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # camera from Velodyne


def extracted(source: Path, layout: str, out: Path, *arguments: str) -> Any:
    command = ["extract", str(source), "--format", layout, "--out", str(out), "--json", *arguments]
    result = CliRunner().invoke(app, [*command, "--processes", "1"])
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout.strip().splitlines()[-1])["recordings"]
    return report


def matrix(record: dict[str, Any]) -> NDArray[np.float64]:
    """Homogeneous transform of a record, by the textbook formula for (w, x, y, z)."""
    w, x, y, z = record["rotation"]
    v = np.array([x, y, z])
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    full = np.eye(4)
    full[:3, :3] = (w * w - v @ v) * np.eye(3) + 2 * np.outer(v, v) + 2 * w * skew
    full[:3, 3] = record["translation"]
    return full


def sensor_from_sensor(data: Any, target: dict[str, Any], source: dict[str, Any]) -> Any:
    """Through mounts and ego poses of two sample_data records."""
    world = []
    for record in (target, source):
        ego = matrix(data.get("ego_pose", record["ego_pose_token"]))
        mount = data.get("calibrated_sensor", record["calibrated_sensor_token"])
        world.append(ego @ matrix(mount))
    return np.linalg.inv(world[0]) @ world[1]


# ---------------------------------------------------------------------------- SemanticKITTI


def lines(values: Any) -> str:
    return "\n".join(" ".join(f"{number:.12e}" for number in row) for row in values)


def tiny_kitti(root: Path) -> Path:
    """Four frames, straight on at 1 m a frame, turning 3 degrees a frame."""
    folder = root / "sequences" / "00"
    random = np.random.default_rng(1)
    for name in ("image_2", "image_3", "velodyne", "labels"):
        (folder / name).mkdir(parents=True)
    shifted = [np.array(KITTI_P0) for _ in range(4)]
    for projection, baseline in zip(shifted, (0, -38.0, 4.5, -34.0), strict=True):
        projection[0, 3] = baseline
    tr = np.hstack([CAM_AXES, [[-0.01], [-0.05], [-0.29]]])
    named = [*(f"P{i}" for i in range(4)), "Tr"]
    (folder / "calib.txt").write_text(
        "\n".join(
            f"{name}: {lines([values.ravel()])}"
            for name, values in zip(named, [*shifted, tr], strict=True)
        )
    )
    poses = []
    for i in range(4):
        turn = np.radians(3 * i)
        c, s = np.cos(turn), np.sin(turn)
        poses.append([c, 0, s, 0, 0, 1, 0, 0, -s, 0, c, float(i)])
        for name in ("image_2", "image_3"):
            pixels = random.integers(0, 256, (20, 60, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{i:06}.png"), pixels)
        random.uniform(-9, 9, (100, 4)).astype("<f4").tofile(folder / f"velodyne/{i:06}.bin")
        random.integers(0, 260, 100).astype("<u4").tofile(folder / f"labels/{i:06}.label")
    (folder / "poses.txt").write_text(lines(poses))
    (folder / "times.txt").write_text("\n".join(f"{0.1 * i:e}" for i in range(4)))
    return root


@pytest.fixture(params=["tiny", "recorded"])
def kitti(request: pytest.FixtureRequest, tmp_path: Path, recording: Callable[..., Path]) -> Path:
    if request.param == "tiny":
        return tiny_kitti(tmp_path / "kitti")
    return recording("data", "semantickitti")


def test_semantickitti_keeps_its_geometry_files_and_labels(
    kitti: Path, tables: Any, tmp_path: Path
) -> None:
    report = extracted(kitti, "semantickitti", tmp_path / "out", "--key-frame-s", "0")
    folder = kitti / "sequences" / "00"
    scans = sorted((folder / "velodyne").glob("*.bin"))
    assert report["key_frames"] == report["labels"] == len(scans)
    data = tables(tmp_path / "out")
    calibration = {
        line.split(":")[0]: np.array(line.split(":")[1].split(), float).reshape(3, 4)
        for line in (folder / "calib.txt").read_text().splitlines()
    }
    tr = np.vstack([calibration["Tr"], [0, 0, 0, 1]])
    poses = np.loadtxt(folder / "poses.txt").reshape(-1, 3, 4)
    lidars = data.channel("LIDAR_TOP")
    for number, (scan, lidar) in enumerate(zip(scans, lidars, strict=True)):
        points = np.fromfile(scan, "<f4").reshape(-1, 4)
        stored = np.fromfile(tmp_path / "out" / lidar["filename"], "<f4").reshape(-1, 5)
        np.testing.assert_array_equal(stored[:, :4], points)
        label = folder / "labels" / f"{scan.stem}.label"
        name = Path(lidar["filename"]).name.removesuffix(".pcd.bin")
        kept = tmp_path / "out/labels/points/LIDAR_TOP" / f"{name}.label"
        assert kept.read_bytes() == label.read_bytes()
        homogeneous = np.c_[points[:, :3].astype(float), np.ones(len(points))]
        for camera in ("2", "3"):
            record = data.channel(f"CAM_{camera}")[number]
            source = folder / f"image_{camera}" / f"{scan.stem}.png"
            assert (tmp_path / "out" / record["filename"]).read_bytes() == source.read_bytes()
            assert record["timestamp"] == lidar["timestamp"]
            wanted = homogeneous @ tr.T @ calibration[f"P{camera}"].T
            mount = data.get("calibrated_sensor", record["calibrated_sensor_token"])
            in_camera = homogeneous @ sensor_from_sensor(data, record, lidar).T
            got = in_camera[:, :3] @ np.array(mount["camera_intrinsic"]).T
            front = wanted[:, 2] > 1.0
            assert front.any()
            error = got[front, :2] / got[front, 2:] - wanted[front, :2] / wanted[front, 2:]
            assert np.abs(error).max() < 0.02  # the calibration's rotation is rounded
    between = sensor_from_sensor(data, lidars[0], lidars[-1])
    ends = [np.vstack([poses[i], [0, 0, 0, 1]]) for i in (0, len(scans) - 1)]
    wanted = np.linalg.inv(tr) @ np.linalg.inv(ends[0]) @ ends[1] @ tr
    np.testing.assert_allclose(between, wanted, atol=2e-4)
    first = data.get("ego_pose", lidars[0]["ego_pose_token"])
    np.testing.assert_allclose(np.abs(first["rotation"]), [1, 0, 0, 0], atol=1e-6)


def test_semantickitti_without_tr_or_poses_is_refused(tmp_path: Path) -> None:
    root = tiny_kitti(tmp_path / "kitti")
    command = ["extract", str(root), "--format", "semantickitti", "--out", str(tmp_path / "out")]
    calib = root / "sequences/00/calib.txt"
    whole = calib.read_text()
    calib.write_text(whole.replace("Tr:", "Ts:"))
    output = " ".join(CliRunner().invoke(app, command).output.split())
    assert "has no line 'Tr:' (camera from Velodyne)" in output
    calib.write_text(whole)
    poses = root / "sequences/00/poses.txt"
    poses.write_text("\n".join(poses.read_text().splitlines()[:2]))
    output = " ".join(CliRunner().invoke(app, command).output.split())
    assert "scan 3 has no pose or no time; there are 2" in output
    poses.unlink()
    assert "lacks poses.txt" in " ".join(CliRunner().invoke(app, command).output.split())


def test_images_of_semantickitti_may_be_jpeg(tables: Any, tmp_path: Path) -> None:
    """Trained on they were, extracted they were not."""
    root = tiny_kitti(tmp_path / "kitti")
    for file in root.glob("sequences/00/image_*/*.png"):
        assert cv2.imwrite(str(file.with_suffix(".jpg")), cv2.imread(str(file)))
        file.unlink()
    report = extracted(root, "semantickitti", tmp_path / "out", "--key-frame-s", "0")
    assert report["key_frames"] == 4 and report["problems"] == []
    for number, record in enumerate(tables(tmp_path / "out").channel("CAM_2")):
        source = root / f"sequences/00/image_2/{number:06}.jpg"
        assert record["fileformat"] == "jpg"
        assert (tmp_path / "out" / record["filename"]).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("place", ["", "sequences", "sequences/00"])
def test_semantickitti_is_found_in_any_of_its_folders(tmp_path: Path, place: str) -> None:
    root = tiny_kitti(tmp_path / "kitti")
    (sequence,) = open_sequences(root / place, "semantickitti")
    assert (sequence.name, len(sequence)) == ("00", 4)


def test_sequences_without_poses_are_left_out_and_said(tmp_path: Path) -> None:
    """KITTI's test split: the others are read; alone, or asked for, it is refused."""
    root = tiny_kitti(tmp_path / "kitti")
    shutil.copytree(root / "sequences" / "00", root / "sequences" / "11")
    (root / "sequences/11/poses.txt").unlink()
    shutil.rmtree(root / "sequences/11/labels")
    (sequence,) = open_sequences(root, "semantickitti")
    assert sequence.name == "00"
    assert "left out: " in sequence.problems[0] and "11 lacks poses.txt" in sequence.problems[0]
    with pytest.raises(ValueError, match="11 lacks poses.txt"):
        open_sequences(root, "semantickitti", names=["11"])


def test_a_mirror_without_tr_takes_that_of_the_same_day(tmp_path: Path) -> None:
    """KITTI calibrates once a day: the same lines P2 and P3 have the same Tr."""
    root = tiny_kitti(tmp_path / "kitti")
    shutil.copytree(root / "sequences" / "00", root / "sequences" / "01")
    calib = root / "sequences/01/calib.txt"
    whole = calib.read_text()
    calib.write_text(whole[: whole.index("Tr:")])
    first, second = open_sequences(root, "semantickitti")
    one, two = first.frames[1].cameras[1], second.frames[1].cameras[1]
    assert one is not None and two is not None
    assert one.ego_from_sensor.is_close(two.ego_from_sensor, 1e-12, 1e-12)
    calib.write_text(whole[: whole.index("Tr:")].replace("P2: 7", "P2: 8"))
    with pytest.raises(ValueError, match="01/calib.txt has no line 'Tr:'"):
        open_sequences(root, "semantickitti", names=["01"])


@pytest.mark.parametrize("place", ["sequences/00", "sequences", ".", "2011_10_03"])
def test_a_mirror_without_tr_takes_the_calibration_of_its_day(tmp_path: Path, place: str) -> None:
    """KITTI's raw data has it in two files: to camera 0, and the rotation that rectifies that."""
    root = tiny_kitti(tmp_path / "kitti")
    calib = root / "sequences/00/calib.txt"
    whole = calib.read_text()
    rows = {line.partition(": ")[0]: line.partition(": ")[2] for line in whole.splitlines()}
    tr = np.array(rows["Tr"].split(), float).reshape(3, 4)
    rectify, _ = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))
    to_camera = rectify.T @ tr
    (before,) = open_sequences(root, "semantickitti")
    calib.write_text(whole[: whole.index("Tr:")])
    day = root / place
    day.mkdir(exist_ok=True)
    (day / "calib_velo_to_cam.txt").write_text(
        f"calib_time: 15-Mar-2012 11:45:23\nR: {lines([to_camera[:, :3].ravel()])}\n"
        f"T: {lines([to_camera[:, 3]])}\ndelta_f: 0 0\n"
    )
    cameras = (
        f"calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
        f"R_rect_00: {lines([rectify.ravel()])}\nP_rect_02: {rows['P2']}\nP_rect_03: {rows['P3']}\n"
    )
    (day / "calib_cam_to_cam.txt").write_text(cameras)
    (after,) = open_sequences(root, "semantickitti")
    for one, two in zip(before.frames[1].cameras, after.frames[1].cameras, strict=True):
        assert one is not None and two is not None
        assert one.ego_from_sensor.is_close(two.ego_from_sensor, 1e-9, 1e-9)
    other_day = cameras.replace("P_rect_02: 7", "P_rect_02: 8")
    (day / "calib_cam_to_cam.txt").write_text(other_day)
    with pytest.raises(ValueError, match=r"no line 'Tr:'.* put calib_velo_to_cam.txt and"):
        open_sequences(root, "semantickitti")


def test_calibrations_in_the_names_of_kittis_other_benchmarks(tmp_path: Path) -> None:
    root = tiny_kitti(tmp_path / "kitti")
    calib = root / "sequences/00/calib.txt"
    (before,) = open_sequences(root, "semantickitti")
    whole = calib.read_text()
    tr = np.array(whole.partition("Tr:")[2].split(), float).reshape(3, 4)
    rectify, _ = cv2.Rodrigues(np.array([0.01, -0.02, 0.005]))
    unrectified = lines([(rectify.T @ tr).ravel()])
    text = f"{whole[: whole.index('Tr:')]}Tr_velo_to_cam: {unrectified}\n"
    calib.write_text(text)
    with pytest.raises(ValueError, match="no line 'Tr:'"):  # to a camera that is not rectified
        open_sequences(root, "semantickitti")
    calib.write_text(text.replace("P2:", "P_rect_02:") + f"R0_rect: {lines([rectify.ravel()])}\n")
    (after,) = open_sequences(root, "semantickitti")
    for one, two in zip(before.frames[1].cameras, after.frames[1].cameras, strict=True):
        assert one is not None and two is not None
        assert one.ego_from_sensor.is_close(two.ego_from_sensor, 1e-9, 1e-9)


def test_what_semantickitti_lacks_is_said(tmp_path: Path) -> None:
    root = tiny_kitti(tmp_path / "kitti")
    shutil.rmtree(root / "sequences/00/image_3")
    (root / "sequences/00/labels/000002.label").unlink()
    label = root / "sequences/00/labels/000001.label"
    label.write_bytes(label.read_bytes()[:-40])
    report = extracted(root, "semantickitti", tmp_path / "out", "--key-frame-s", "0")
    assert "image_3 has no image for 4 of 4 frames" in report["problems"][0]
    assert "no labels for the points of 1 of 4 frames" in report["problems"][1]
    assert (report["key_frames"], report["labels"]) == (4, 2)
    (left_out,) = report["skipped"]
    assert left_out["what"] == "point labels of LIDAR_TOP" and left_out["count"] == 1
    assert "labels 90 points, but its sweep has 100" in left_out["why"]


# ------------------------------------------------------------------------------------- DDAD


def pose(yaw: float, place: list[float]) -> dict[str, Any]:
    turn = {"qw": np.cos(yaw / 2), "qx": 0.0, "qy": 0.0, "qz": np.sin(yaw / 2)}
    return {"rotation": turn, "translation": dict(zip("xyz", place, strict=True))}


def tiny_ddad(root: Path) -> Path:
    """Two instants, one camera that looks along its z axis upwards, a LiDAR, a box."""
    scene = root / "scene_1"
    for name in ("rgb/CAMERA_01", "point_cloud/LIDAR", "bounding_box_3d", "calibration"):
        (scene / name).mkdir(parents=True)
    (scene / "ontology").mkdir()
    items = [{"id": 2, "name": "Car"}]
    (scene / "ontology" / "o.json").write_text(json.dumps({"items": items}))
    intrinsics = {"fx": 40.0, "fy": 41.0, "cx": 20.0, "cy": 15.0, "skew": 0.0}
    mounts = [pose(0, [0, 0, 0]), pose(0.3, [1, 0.2, 1.5])]
    calibration = {
        "names": ["LIDAR", "CAMERA_01"],
        "extrinsics": mounts,
        "intrinsics": [dict.fromkeys(intrinsics, 0.0), intrinsics],
    }
    (scene / "calibration" / "c.json").write_text(json.dumps(calibration))
    data, samples = [], []
    for i in range(2):
        stamp = 16_000_000_000_000_000 + i * 1_000_000
        points = np.random.default_rng(i).uniform(-5, 5, (50, 4))
        np.savez(scene / f"point_cloud/LIDAR/{stamp}.npz", data=points)
        box = {"height": 4.0, "width": 3.0, "length": 6.0, "pose": pose(0.1, [1, 1, 0])}
        annotation = {"box": box, "class_id": 2, "instance_id": 77, "num_points": 1}
        file = f"bounding_box_3d/{stamp}.json"
        (scene / file).write_text(json.dumps({"annotations": [annotation]}))
        cloud = {"filename": f"point_cloud/LIDAR/{stamp}.npz", "annotations": {"1": file}}
        cloud["pose"] = pose(0.2 * i, [10.0 + i, 5, 0])
        image = {"filename": f"rgb/CAMERA_01/{stamp - 90_000}.jpg", "width": 40, "height": 30}
        image |= {"pose": pose(0.2 * i + 0.3, [11.0 + i, 5, 1.5]), "annotations": {}}
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        cv2.imwrite(str(scene / image["filename"]), pixels)
        data += [
            {"key": f"l{i}", "id": {"name": "LIDAR"}, "datum": {"point_cloud": cloud}},
            {"key": f"c{i}", "id": {"name": "CAMERA_01"}, "datum": {"image": image}},
        ]
        samples.append({"calibration_key": "c", "datum_keys": [f"l{i}", f"c{i}"]})
    content = {"data": data, "samples": samples, "ontologies": {"1": "o"}, "description": "tiny"}
    (scene / "scene_x.json").write_text(json.dumps(content))
    splits = {"scene_splits": {"0": {"filenames": ["scene_1/scene_x.json"]}}}
    (root / "scene_dataset.json").write_text(json.dumps(splits))
    return root


@pytest.fixture(params=["tiny", "recorded"])
def ddad(request: pytest.FixtureRequest, tmp_path: Path, recording: Callable[..., Path]) -> Path:
    return tiny_ddad(tmp_path / "ddad") if request.param == "tiny" else recording("data", "ddad")


def test_ddad_keeps_its_geometry_files_and_boxes(ddad: Path, tables: Any, tmp_path: Path) -> None:
    report = extracted(ddad, "ddad", tmp_path / "out", "--key-frame-s", "0")
    data = tables(tmp_path / "out")
    (scene_file,) = ddad.glob("scene_*/scene_*.json")
    scene = json.loads(scene_file.read_text())
    source = {record["key"]: record for record in scene["data"]}
    assert report["key_frames"] == len(scene["samples"])

    def dgp(record: dict[str, Any]) -> NDArray[np.float64]:
        turn, place = record["rotation"], record["translation"]
        rotation = [turn[key] for key in ("qw", "qx", "qy", "qz")]
        return matrix({"rotation": rotation, "translation": [place[key] for key in "xyz"]})

    for number, sample in enumerate(scene["samples"]):
        datums = [source[key] for key in sample["datum_keys"]]
        (cloud,) = [d["datum"]["point_cloud"] for d in datums if "point_cloud" in d["datum"]]
        lidar = data.channel("LIDAR_TOP")[number]
        assert lidar["timestamp"] == int(Path(cloud["filename"]).stem) // 10
        stored = np.fromfile(tmp_path / "out" / lidar["filename"], "<f4").reshape(-1, 5)[:, :4]
        with np.load(scene_file.parent / cloud["filename"]) as arrays:
            np.testing.assert_array_equal(stored, arrays["data"].astype("<f4"))
        for datum in datums:
            if "image" not in datum["datum"]:
                continue
            image = datum["datum"]["image"]
            record = data.channel(datum["id"]["name"].replace("CAMERA", "CAM"))[number]
            assert (record["width"], record["height"]) == (image["width"], image["height"])
            content = (scene_file.parent / image["filename"]).read_bytes()
            assert (tmp_path / "out" / record["filename"]).read_bytes() == content
            wanted = np.linalg.inv(dgp(image["pose"])) @ dgp(cloud["pose"])
            np.testing.assert_allclose(sensor_from_sensor(data, record, lidar), wanted, atol=1e-9)
        boxes = json.loads((scene_file.parent / cloud["annotations"]["1"]).read_text())
        result = [
            a for a in data["sample_annotation"] if a["sample_token"] == lidar["sample_token"]
        ]
        assert len(result) == len(boxes["annotations"])
        ego = matrix(data.get("ego_pose", lidar["ego_pose_token"]))
        centres = sorted((np.linalg.inv(ego) @ [*a["translation"], 1])[:3].tolist() for a in result)
        places = (box["box"]["pose"]["translation"] for box in boxes["annotations"])
        wanted_centres = sorted([p["x"], p["y"], p["z"]] for p in places)
        np.testing.assert_allclose(centres, wanted_centres, atol=1e-6)
        for annotation in result:
            in_box = np.linalg.inv(matrix(annotation)) @ ego
            points = np.c_[stored[:, :3], np.ones(len(stored))] @ in_box.T
            width, length, height = annotation["size"]
            inside = (np.abs(points[:, :3]) <= np.array([length, width, height]) / 2).all(axis=1)
            assert abs(annotation["num_lidar_pts"] - inside.sum()) <= 1  # a point on a face
    assert "Car" in {category["name"] for category in data["category"]}


def test_a_folder_that_is_no_ddad_is_refused(tmp_path: Path) -> None:
    command = ["extract", str(tmp_path), "--format", "ddad", "--out", str(tmp_path / "out")]
    output = " ".join(CliRunner().invoke(app, command).output.split())
    assert "holds neither a scene data set" in output


# --------------------------------------------------------------------------------- nuScenes


def test_nuscenes_is_taken_over_whole(nuscenes_root: Path, tables: Any, tmp_path: Path) -> None:
    pytest.importorskip("nuscenes", reason="nuscenes-devkit needs Python below 3.13")
    report = extracted(nuscenes_root, "nuscenes", tmp_path / "out")
    before, after = tables(nuscenes_root, "v1.0-mini"), tables(tmp_path / "out")
    stamps = [sorted(s["timestamp"] for s in data["sample"]) for data in (before, after)]
    assert stamps[0] == stamps[1]
    assert report["boxes"] == len(before["sample_annotation"]) == len(after["sample_annotation"])
    for channel in ("CAM_FRONT", "CAM_BACK_LEFT", "LIDAR_TOP"):
        old = {record["timestamp"]: record for record in before.channel(channel)}
        new = after.channel(channel)
        left_out = [e for e in report["skipped"] if e["what"] == channel]
        assert len(old) == len(new) + sum(entry["count"] for entry in left_out)
        for record in new:
            same = old[record["timestamp"]]
            assert record["is_key_frame"] == same["is_key_frame"]
            files = [before.root / same["filename"], after.root / record["filename"]]
            assert files[0].read_bytes() == files[1].read_bytes()
            old_pose, new_pose = (
                data.get("ego_pose", r["ego_pose_token"])
                for data, r in ((before, same), (after, record))
            )
            np.testing.assert_allclose(matrix(old_pose), matrix(new_pose), atol=1e-9)


def test_bags_need_a_rig(tmp_path: Path) -> None:
    command = ["extract", str(tmp_path), "--out", str(tmp_path / "out")]
    assert "bags need --rig" in CliRunner().invoke(app, command).output

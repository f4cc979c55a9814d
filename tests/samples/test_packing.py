"""A packed data set gives the samples of the one that it was made from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from box_world import LENS, STREET
from street_source import network_config, recipe
from typer.testing import CliRunner

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.cli import app
from renderocc_ros.geometry import CameraModel
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.image_preprocessing import target_model
from renderocc_training.samples.packing import Packer, thinned
from renderocc_training.samples.source import TrainingSource
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.model import RecordedSequence, label_file
from renderocc_training.sequences.packed import begin_packing
from renderocc_training.supervision.labels.interface import no_labels
from renderocc_training.supervision.labels.label_source import (
    LabelSource,
    make_labeller,
    open_store,
)
from renderocc_training.supervision.rays.auxiliary import always_stands, box_states
from renderocc_training.supervision.rays.ray_batch import NO_BOX, PixelLabels

CLASS_OF = np.array([17, 11, 4, 4, 7, 15, 15, 15], np.uint8)  # of NOTHING, GROUND, boxes
IMAGES = LabelSource(depth="images", semantics="images")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> RecordedSequence:
    """Four frames of the street; every pixel has a range and a class."""
    sequence = STREET.record(tmp_path_factory.mktemp("dense"), frames=4)
    for frame in sequence.frames:
        for camera in filter(None, frame.cameras):
            rays = LENS.pixel_rays()
            pose = camera.world_from_sensor
            directions = rays.reshape(-1, 3) @ pose.rotation.T
            range_m, what = STREET.cast(pose.translation, directions, camera.stamp_ns * 1e-9)
            depth_mm = 1000 * np.minimum(range_m, 65.0).reshape(rays.shape[:2]) * rays[..., 2]
            for kind, image in (
                ("depth", np.round(depth_mm).astype(np.uint16)),
                ("classes", CLASS_OF[what + 2].reshape(rays.shape[:2])),
            ):
                file = label_file(sequence.root, kind, camera, ".png")
                file.parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(file), image)
    return sequence


def packed(
    sequence: RecordedSequence, occ3d: ClassSet, root: Path, image: ImageConfig
) -> RecordedSequence:
    begin_packing(root, {}, [sequence.name])
    labeller = make_labeller(IMAGES.model_copy(update={"stride_px": 1}), occ3d)
    Packer(root, image, labeller, occ3d, 75).pack(sequence)
    return open_sequences(root, "packed")[0]


def source(
    sequence: RecordedSequence, occ3d: ClassSet, image: dict[str, int], stride_px: int
) -> TrainingSource:
    store = open_store(IMAGES.model_copy(update={"stride_px": stride_px}), occ3d, None)
    content = network_config().model_dump() | {"image": image}
    network = type(network_config()).model_validate(content)
    return TrainingSource([sequence], store, network, occ3d, recipe(budget=400))


def test_at_the_same_size_labels_and_rays_are_the_same(
    street: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    size = {"width": 320, "height": 192}
    there = packed(street, occ3d, tmp_path, ImageConfig(**size))
    sources = [source(each, occ3d, size, 4) for each in (street, there)]
    one, other = (each.sample(1, np.random.default_rng(0)) for each in sources)
    assert one.token == other.token and np.array_equal(one.views.valid, other.views.valid)
    for key in ("intrinsics", "ego_from_camera"):
        assert np.array_equal(getattr(one.views, key), getattr(other.views, key)), key
    std = np.array(ImageConfig(**size).std)[:, None, None]
    assert np.abs((one.views.images - other.views.images) * std).mean() < 3  # of 255: WebP
    assert np.array_equal(np.isnan(one.depth_m), np.isnan(other.depth_m))
    assert np.nanmax(np.abs(other.depth_m / one.depth_m - 1)) < 1e-3
    # The same rays are drawn, of this frame and of those beside it, past what moves.
    for key in ("origin", "direction", "class_id", "is_auxiliary"):
        assert np.array_equal(getattr(one.rays, key), getattr(other.rays, key)), key
    assert np.array_equal(np.isinf(one.rays.range_m), np.isinf(other.rays.range_m))
    finite = np.isfinite(one.rays.range_m)
    assert np.allclose(one.rays.range_m[finite], other.rays.range_m[finite], rtol=1e-3)
    assert np.allclose(one.rays.start_m, other.rays.start_m, rtol=2e-3) and one.rays.start_m.any()
    assert one.votes is not None and other.votes is not None
    assert (one.votes == other.votes).mean() > 0.999


def test_smaller_images_show_what_the_network_would_have_seen(
    street: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    size = {"width": 160, "height": 64}
    there = packed(street, occ3d, tmp_path, ImageConfig(**size))
    for before, after in zip(street.frames, there.frames, strict=True):
        assert before.token == after.token and before.stamp_ns == after.stamp_ns
        assert np.array_equal(before.world_from_ego.matrix, after.world_from_ego.matrix)
        for old, new in zip(before.cameras, after.cameras, strict=True):
            assert old is not None and new is not None and old.stamp_ns == new.stamp_ns
            assert np.array_equal(old.world_from_sensor.matrix, new.world_from_sensor.matrix)
            assert new.model == target_model(old.model, ImageConfig(**size))
    one, other = (
        source(each, occ3d, size, stride).sample(2, np.random.default_rng(0))
        for each, stride in ((street, 8), (there, 4))
    )
    assert np.array_equal(one.views.intrinsics, other.views.intrinsics)
    assert one.votes is not None and other.votes is not None
    both = (one.votes != IGNORE_ID) & (other.votes != IGNORE_ID)
    assert both.mean() > 0.2 and (one.votes[both] == other.votes[both]).mean() > 0.98
    # Another network's images are scaled from the packed ones, as any data set's are.
    larger = source(there, occ3d, {"width": 320, "height": 128}, 4)
    assert larger.sample(0, np.random.default_rng(0)).views.images.shape[-2:] == (128, 320)


def test_boxes_that_never_move_stay_behind_and_change_nothing(
    street: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    there = packed(street, occ3d, tmp_path, ImageConfig(width=64, height=32))
    assert [t.category for t in there.tracks.values()] == [
        box.category for box in STREET.boxes if box.speed_m_s
    ]
    first, last = street.frames[0].stamp_ns, street.frames[-1].stamp_ns
    standing = {n for n, track in street.tracks.items() if always_stands(track)}
    assert len(standing) == len(street.tracks) - len(there.tracks)
    for then, now in ((first, last), (last, first), (first - 10**10, last)):
        assert standing <= box_states(street.tracks, then, now).standing


def labels_at(pixels: list[list[float]], range_m: list[float], class_id: list[int]) -> PixelLabels:
    return PixelLabels(
        np.array(pixels, np.float32),
        np.array(range_m, np.float32),
        np.array(class_id, np.uint8),
        np.full(len(pixels), NO_BOX, np.int32),
    )


def test_of_a_block_the_label_next_to_its_middle_is_kept() -> None:
    model = CameraModel(16, 8, np.array([[20.0, 0, 7.5], [0, 20.0, 3.5], [0, 0, 1]]))
    pixels = [[0.0, 0], [2.4, 2.0], [2.0, 2.0], [6.0, 2.0], [15.0, 7.0], [9.0, 5.0], [40.0, 2.0]]
    ranges = [1.0, 2.0, 3.0, np.inf, 80.0, np.nan, 9.0]
    depth, classes = thinned(labels_at(pixels, ranges, [1, 2, 4, 255, 11, 15, 3]), model, model, 17)
    cosine = model.rays([2.0, 2.0])[2]
    assert depth.tolist() == [[pytest.approx(3000 * cosine, rel=1e-3), 0, 0, 0], [0, 0, 0, 0]]
    assert classes.tolist() == [[4, 17, 255, 255], [255, 255, 15, 11]]  # sky; too far; no range
    depth, classes = thinned(no_labels(), model, model, 17)
    assert not depth.any() and (classes == IGNORE_ID).all() and depth.dtype == np.uint16


def test_depths_are_off_by_a_thousandth_at_most() -> None:
    model = CameraModel(4, 4, np.array([[20.0, 0, 2.0], [0, 20.0, 2.0], [0, 0, 1]]))
    for range_m in (0.001, 0.4, 1.0231, 7.7777, 33.333, 65.4719):
        depth, _ = thinned(labels_at([[2.0, 2.0]], [range_m], [4]), model, model, 17)
        assert depth[0, 0] == pytest.approx(1000 * range_m, rel=1e-3, abs=0.5)
    assert thinned(labels_at([[2.0, 2.0]], [65.5], [4]), model, model, 17)[0][0, 0] == 0


# -------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def kitti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kitti")
    STREET.record_semantickitti(folder, frames=2)
    return folder


def pack(kitti: Path, out: Path, *options: str, code: int = 0) -> str:
    command = ["pack", str(kitti), str(out), "--format", "semantickitti"]
    command += ["--label-source", "lidar_points", *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def content(folder: Path) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_an_interrupted_run_goes_on_and_nothing_is_overwritten(kitti: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "2 frames" in pack(kitti, out)
    whole = content(out)
    kept, gone = (next(folder.iterdir()) for folder in (out / "images").iterdir())
    before = kept.stat().st_mtime_ns
    (out / "sequences" / "00.npz").unlink()
    with pytest.raises(ValueError, match="lacks 00: packing was interrupted"):
        open_sequences(out, "packed")
    gone.unlink()
    pack(kitti, out)
    after = content(out)
    assert kept.stat().st_mtime_ns == before and after.keys() == whole.keys()
    assert all(after[name] == whole[name] for name in whole if not name.endswith(".npz"))
    assert "1 of 1 scenes were packed already" in pack(kitti, out)
    (out / "sequences" / "00.npz").write_bytes(b"PK")
    pack(kitti, out)
    assert len(open_sequences(out, "packed")[0]) == 2  # what was damaged is made again
    assert "packed with other settings (quality)" in pack(kitti, out, "--quality", "50", code=1)
    (kitti / "sequences" / "00" / "image_2" / "000001.png").rename(tmp_path / "taken.png")
    try:
        pack(kitti, tmp_path / "new")
        cameras = open_sequences(tmp_path / "new", "packed")[0].frames[1].cameras
        assert cameras[0] is None and cameras[1] is not None  # one image is missing
        assert "packed from other frames" in pack(kitti, out, code=1)
    finally:
        (tmp_path / "taken.png").rename(kitti / "sequences" / "00" / "image_2" / "000001.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert "holds something else" in pack(kitti, tmp_path / "mine", code=1)
    assert "labels are packed at every 4th pixel" in pack(
        kitti, tmp_path / "odd", "--network", str(odd_network(tmp_path)), code=1
    )


def odd_network(folder: Path) -> Path:
    config = network_config().model_dump(mode="json")
    config["image"] |= {"width": 162, "height": 62}
    config["architecture"]["neck"]["stride"] = 2
    (folder / "odd.yaml").write_text(json.dumps(config))
    return folder / "odd.yaml"


def test_damaged_files_are_named(kitti: Path, tmp_path: Path) -> None:
    pack(kitti, tmp_path / "good")
    show = ["labels", "show", "--label-source", "images", "--format", "packed"]
    for pattern in ("sequences/00.npz", "packed.json", "images/*/*", "labels/depth/*/*"):
        bad = tmp_path / "bad"
        shutil.copytree(tmp_path / "good", bad)
        file = sorted(bad.glob(pattern))[0]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        done = CliRunner().invoke(app, [*show, str(bad), "--out", str(tmp_path / "pictures")])
        assert done.exit_code == 1, pattern
        assert file.name in "".join(done.output.split()), done.output
        shutil.rmtree(bad)
    done = CliRunner().invoke(
        app, [*show, str(tmp_path / "good"), "--out", str(tmp_path), "--set", "stride_px=2"]
    )
    assert done.exit_code == 1 and "a multiple of that" in " ".join(done.output.split())
    done = CliRunner().invoke(app, [*show, str(kitti), "--out", str(tmp_path)])
    assert done.exit_code == 1 and "packed.json" in done.output

"""Image files of another size than their calibration: scaled as on the robot, or named."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from box_world import LENS, STREET
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_ros.config import RigConfig, validate
from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_training.evaluation.sequence_sets import SequenceSets
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.sequences.model import CameraImage, RecordedSequence
from renderocc_training.sequences.sensor_files import read_image, read_pixels
from renderocc_training.supervision.labels.label_images import ClassImageFiles, DepthImageFiles

HALF = (LENS.width // 2, LENS.height // 2)
SQUARE = (LENS.width, LENS.width)
WHOLE = ImageConfig(width=LENS.width, height=LENS.height)


@pytest.fixture
def sequence(tmp_path: Path) -> RecordedSequence:
    return STREET.record(tmp_path, frames=2)


def first_camera(sequence: RecordedSequence) -> CameraImage:
    camera = sequence.frames[0].cameras[0]
    assert camera is not None
    return camera


def scale(file: Path, size: tuple[int, int]) -> None:
    image = cv2.imread(str(file))
    assert cv2.imwrite(str(file), cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def test_a_scaled_image_keeps_its_view(sequence: RecordedSequence) -> None:
    camera = first_camera(sequence)
    whole = read_pixels(camera)
    preprocess = ImagePreprocessor(WHOLE)
    before = read_image(camera, RigidTransform.identity(), preprocess)
    scale(camera.file, HALF)
    again = read_pixels(camera)
    assert again.shape == whole.shape
    assert np.abs(again.astype(int) - whole).mean() < 8
    posed = read_image(camera, RigidTransform.identity(), preprocess)
    assert (posed.model.width, posed.model.height) == HALF == posed.pixels.shape[1::-1]
    seen = [posed.model.rays([[HALF[0] - 0.5, HALF[1] - 0.5]]), before.model.rays([[319.5, 191.5]])]
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-9)


def test_another_view_is_refused_by_file(sequence: RecordedSequence) -> None:
    camera = first_camera(sequence)
    scale(camera.file, SQUARE)
    message = rf"{camera.file.name}: .*320x320.*320x192.*proportions"
    with pytest.raises(ValueError, match=message):
        read_pixels(camera)
    with pytest.raises(ValueError, match=message):
        read_image(camera, RigidTransform.identity(), ImagePreprocessor(WHOLE))


def test_evaluation_counts_it_and_goes_on(sequence: RecordedSequence) -> None:
    for frame in sequence.frames:
        assert frame.cameras[0] is not None
        scale(frame.cameras[0].file, SQUARE)
    names = sequence.camera_names
    cameras = [{"name": name, "image_topic": name} for name in names]
    rig = validate({"name": "street", "cameras": cameras}, RigConfig, "rig")
    sets = SequenceSets(sequence, rig, WHOLE)
    assert [[posed is not None for posed in each.images] for _, each in sets] == [[False, True]] * 2
    (((what, why), count),) = sets.skipped.items()
    assert what == f"images of {names[0]}" and "other proportions" in why and count == 2


@pytest.mark.parametrize("kind", ["classes", "depth"])
def test_label_images_of_another_view_are_refused(
    sequence: RecordedSequence, occ3d: ClassSet, kind: str
) -> None:
    camera = first_camera(sequence)
    file = sequence.root / "labels" / kind / camera.name / f"{camera.label_name}.png"
    file.parent.mkdir(parents=True)
    reader = ClassImageFiles(occ3d).classes if kind == "classes" else DepthImageFiles().ranges
    for size in (HALF, (LENS.width, LENS.height)):
        assert cv2.imwrite(str(file), np.full(size[::-1], 4, np.uint8))
        assert reader(sequence, sequence.frames[0], camera).shape == (LENS.height, LENS.width)
    assert cv2.imwrite(str(file), np.full(SQUARE[::-1], 4, np.uint8))
    with pytest.raises(ValueError, match=r"\.png is broken .*320x320.*proportions"):
        reader(sequence, sequence.frames[0], camera)


def extracted(root: Path, format: str, out: Path) -> str:
    command = ["extract", str(root), "--format", format, "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--key-frame-s", "0", "--processes", "1"])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_extracted_tables_say_what_the_files_are(tmp_path: Path) -> None:
    """A data set whose images were scaled to save space, of which one shows another view."""
    STREET.record_semantickitti(tmp_path / "kitti", frames=2)
    first, out = tmp_path / "first", tmp_path / "out"
    extracted(tmp_path / "kitti", "semantickitti", first)
    for file in first.rglob("CAM_2/*.png"):
        scale(file, HALF)
    scale(max(first.rglob("CAM_3/*.png")), SQUARE)
    text = extracted(first, "nuscenes", out)
    assert "images of CAM_3" in text and "other proportions" in text
    tables = {
        name: json.loads((out / "v1.0-trainval" / f"{name}.json").read_text())
        for name in ("sample_data", "calibrated_sensor")
    }
    mounts = {each["token"]: each for each in tables["calibrated_sensor"]}
    sizes = []
    for record in tables["sample_data"]:
        if record["fileformat"] == "png":
            image = cv2.imread(str(out / record["filename"]))
            assert image.shape[1::-1] == (record["width"], record["height"])
            focal_px = mounts[record["calibrated_sensor_token"]]["camera_intrinsic"][0][0]
            sizes.append((image.shape[1], focal_px))
    assert sorted(sizes) == [(HALF[0], 80.0), (HALF[0], 80.0), (LENS.width, 160.0)]


def test_scaled_images_of_kitti_are_refused(tmp_path: Path) -> None:
    """Nothing there says which size its calibration is for, but its centre is in the middle."""
    STREET.record_semantickitti(tmp_path, frames=1)
    scale(next(tmp_path.rglob("image_2/*.png")), HALF)
    with pytest.raises(ValueError, match=r"000000.png has 160x96 pixels, .*P2 is at \[160.0, 96"):
        open_sequences(tmp_path, "semantickitti")

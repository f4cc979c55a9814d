"""Calibrations and mounts in the rig file, for robots that publish neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from renderocc_ros.config import CameraConfig, RigConfig, load_rig
from renderocc_ros.geometry import CameraModel
from renderocc_ros.rig.calibration_files import fixed_model

# As camera_calibration_parsers writes it.
CAMERA_INFO = """
image_width: 640
image_height: 360
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [420.0, 0, 331.0, 0, 410.0, 187.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.31, 0.12, 0.0008, -0.0005, -0.02]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [400.0, 0, 320.0, 0, 0, 400.0, 180.0, 0, 0, 0, 1, 0]}
"""
# As Kalibr's calibrate_cameras writes it.
CAMCHAIN = """
cam0:
  camera_model: pinhole
  intrinsics: [461.6, 460.2, 363.0, 248.1]
  distortion_model: equidistant
  distortion_coeffs: [-0.02, 0.004, -0.003, 0.0005]
  resolution: [752, 480]
  rostopic: /left/image_raw
cam1:
  T_cn_cnm1: [[1, 0, 0, -0.11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
  camera_model: pinhole
  intrinsics: [459.0, 458.0, 379.0, 255.0]
  distortion_model: radtan
  distortion_coeffs: [-0.28, 0.07, 0.0002, 0.00002]
  resolution: [752, 480]
  rostopic: /right/image_raw
"""


def rig_of(folder: Path, *cameras: dict[str, object]) -> RigConfig:
    (folder / "front.yaml").write_text(CAMERA_INFO)
    (folder / "camchain.yaml").write_text(CAMCHAIN)
    rig = {"name": "robot", "cameras": [{"name": f"c{i}", **c} for i, c in enumerate(cameras)]}
    (folder / "rig.yaml").write_text(yaml.safe_dump(rig))
    return load_rig(str(folder / "rig.yaml"))


def model_of(camera: CameraConfig) -> CameraModel:
    model = fixed_model(camera)
    assert model is not None
    return model


def test_a_file_of_camera_calibration(tmp_path: Path) -> None:
    camera = {"image_topic": "front/image_raw", "calibration": "front.yaml"}
    model = model_of(rig_of(tmp_path, camera).cameras[0])
    assert (model.width, model.height) == (640, 360)
    assert model.intrinsics.tolist() == [[420, 0, 331], [0, 410, 187.5], [0, 0, 1]]
    assert model.distortion == (-0.31, 0.12, 0.0008, -0.0005, -0.02)
    model = model_of(rig_of(tmp_path, camera | {"rectified": True}).cameras[0])
    assert model.intrinsics[0].tolist() == [400, 0, 320] and model.distortion == ()


def test_a_camchain_of_kalibr(tmp_path: Path) -> None:
    left = {"image_topic": "left/image_raw", "calibration": "camchain.yaml"}
    right = {"image_topic": "/right/image_raw", "calibration": "camchain.yaml"}
    one, other = map(model_of, rig_of(tmp_path, left, right).cameras)
    assert (one.distortion_model, one.distortion) == ("equidistant", (-0.02, 0.004, -0.003, 0.0005))
    assert one.intrinsics.tolist() == [[461.6, 0, 363], [0, 460.2, 248.1], [0, 0, 1]]
    assert (other.distortion_model, other.width) == ("plumb_bob", 752)


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        ({"image_topic": "rear/image", "calibration": "camchain.yaml"}, "0 cameras of rear/image"),
        ({"image_topic": "rear/image", "calibration": "rig.yaml"}, "0 cameras of rear/image"),
        ({"image_topic": "rear/image", "calibration": "lost.yaml"}, "there is no file .*lost.yaml"),
        ({"image_topic": "a", "mount": {"position_m": [0, 0, 1]}}, "'mount' needs 'frame'"),
        ({"image_topic": "a", "calibration": {"camera_matrix": 1, "image_width": 1}}, "no key"),
        ({"image_topic": "a", "calibration": {"cam0": {"camera_model": "omni"}}}, "'omni'"),
    ],
)
def test_what_is_no_calibration_is_named(
    camera: dict[str, object], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=reason):
        fixed_model(rig_of(tmp_path, camera).cameras[0])


def test_mounts_are_of_the_optical_frame(tmp_path: Path) -> None:
    mount = {"position_m": [1.0, 0.2, 1.4], "yaw_deg": 90.0}
    rig = rig_of(tmp_path, {"image_topic": "left/image", "frame": "left", "mount": mount})
    (base_from_camera,) = rig.mounts.values()
    assert np.allclose(base_from_camera.apply([0.0, 0.0, 2.0]), (1.0, 2.2, 1.4))  # ahead: left
    assert np.allclose(base_from_camera.apply([0.0, 1.0, 0.0]), (1.0, 0.2, 0.4))  # down

"""CameraInfo's numbers as camera models."""

from __future__ import annotations

import numpy as np
import pytest

from renderocc_ros.rig.calibration import camera_model, scaled_to_image

K = (500.0, 0, 320.5, 0, 510.0, 180.5, 0, 0, 1)
P = (480.0, 0, 318.0, 0, 0, 480.0, 179.0, 0, 0, 0, 1, 0)
D = (-0.3, 0.1, 1e-3, -1e-3, 0.01)


def test_raw_images_take_k_and_d_rectified_ones_p() -> None:
    raw = camera_model(width=640, height=360, k=K, d=D, p=P, distortion_model="plumb_bob")
    assert raw.distortion == D and raw.intrinsics.ravel().tolist() == list(K)
    flat = camera_model(
        width=640, height=360, k=K, d=D, p=P, distortion_model="plumb_bob", rectified=True
    )
    assert not flat.distortion and flat.intrinsics[0].tolist() == [480, 0, 318]


@pytest.mark.parametrize("d", [(), (0.0,) * 5])
@pytest.mark.parametrize("name", ["plumb_bob", "rational_polynomial", ""])
def test_no_coefficients_are_no_distortion(d: tuple[float, ...], name: str) -> None:
    model = camera_model(width=640, height=360, k=K, d=d, distortion_model=name)
    assert model.distortion_model == "none"


def test_a_fisheye_with_zero_coefficients_is_still_a_fisheye() -> None:
    model = camera_model(width=640, height=360, k=K, d=(0,) * 4, distortion_model="equidistant")
    pixels, _ = model.project([1.0, 0.0, 1.0])
    assert pixels[0] == pytest.approx(320.5 + 500 * np.pi / 4)


def test_region_and_binning_move_the_pixels() -> None:
    full = camera_model(width=640, height=360, k=K)
    cut = camera_model(width=640, height=360, k=K, roi=(100, 40, 401, 200), binning=(2, 2))
    assert (cut.width, cut.height) == (200, 100)
    point = [0.1, 0.05, 1.0]
    expected = (full.project(point)[0] - (100, 40) + 0.5) / 2 - 0.5
    assert np.abs(cut.project(point)[0] - expected).max() < 1e-9


def test_what_is_not_calibrated_or_unknown_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not calibrated"):
        camera_model(width=640, height=360, k=(0.0,) * 9)
    with pytest.raises(ValueError, match="distortion_model 'ds' is not one of"):
        camera_model(width=640, height=360, k=K, d=(1, 2), distortion_model="ds")
    with pytest.raises(ValueError, match="describes no rectified image"):
        camera_model(width=640, height=360, k=K, p=(0.0,) * 12, rectified=True)
    with pytest.raises(ValueError, match="K must have 9 numbers"):
        camera_model(width=640, height=360, k=K[:4])


def test_k_follows_the_size_of_the_image() -> None:
    model = camera_model(width=640, height=360, k=K)
    half = scaled_to_image(model, 320, 180)
    assert half.intrinsics[0, 0] == 250 and half.intrinsics[0, 2] == pytest.approx(160)
    with pytest.raises(ValueError, match="640x480 pixels, its CameraInfo describes 640x360"):
        scaled_to_image(model, 640, 480)

"""Projection and rays against OpenCV, against each other, and through resize and crop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderocc_ros.geometry import CameraModel

K = np.array([[420.0, 0.0, 331.0], [0.0, 410.0, 187.5], [0.0, 0.0, 1.0]])
MODELS = {
    "none": CameraModel(640, 360, K),
    "plumb_bob": CameraModel(640, 360, K, "plumb_bob", (-0.31, 0.12, 8e-4, -5e-4, -0.02)),
    "rational": CameraModel(
        640, 360, K, "rational_polynomial", (0.7, -0.05, 3e-4, 2e-4, 0.01, 0.95, -0.02, 0.02)
    ),
    "thin prism": CameraModel(
        640,
        360,
        K,
        "rational_polynomial",
        (0.7, -0.05, 3e-4, 2e-4, 0.01, 0.95, -0.02, 0.02, 1e-3, 2e-3, -1e-3, 5e-4),
    ),
    "tilted": CameraModel(
        640,
        360,
        K,
        "rational_polynomial",
        (0.7, -0.05, 3e-4, 2e-4, 0.01, 0.95, -0.02, 0.02, 1e-3, 2e-3, -1e-3, 5e-4, 0.03, -0.02),
    ),
    "equidistant": CameraModel(640, 360, K, "equidistant", (-0.02, 0.004, -0.003, 5e-4)),
}
any_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


@any_model
def test_rays_and_projection_are_inverse_on_every_pixel(model: CameraModel) -> None:
    rays = model.pixel_rays()
    assert np.isfinite(rays).all()
    assert np.abs(np.linalg.norm(rays, axis=-1) - 1).max() < 1e-12
    pixels, inside = model.project(rays * 7.3)
    u, v = np.meshgrid(np.arange(640), np.arange(360))
    assert inside.all()
    assert np.abs(pixels - np.stack([u, v], axis=-1)).max() < 1e-6


@any_model
def test_projection_is_opencvs(model: CameraModel) -> None:
    points = np.random.default_rng(0).uniform((-3, -2, 3), (3, 2, 20), (500, 3))
    flat, zero = points.reshape(-1, 1, 3), np.zeros(3)
    coefficients = np.array(model.distortion)
    if model.distortion_model == "equidistant":
        expected, _ = cv2.fisheye.projectPoints(flat, zero, zero, K, coefficients)
    else:
        expected, _ = cv2.projectPoints(flat, zero, zero, K, coefficients)
    assert np.abs(model.project(points)[0] - expected[:, 0]).max() < 1e-9


@any_model
@given(scale=st.floats(0.2, 3.0), left=st.integers(-20, 200), top=st.integers(-20, 200))
def test_resize_and_crop_move_the_pixel_and_keep_the_ray(
    model: CameraModel, scale: float, left: int, top: int
) -> None:
    width, height = round(640 * scale), round(360 * scale)
    window = model.resized(width, height).cropped(left, top, 100, 80)
    pixel = np.array([123.0, 77.0])
    moved = (pixel + 0.5) * (width / 640, height / 360) - 0.5 - (left, top)
    assert np.abs(window.rays(moved) - model.rays(pixel)).max() < 1e-8


def test_a_fisheye_sees_behind_itself() -> None:
    model = CameraModel(800, 800, [[230, 0, 399.5], [0, 230, 399.5], [0, 0, 1]], "equidistant",
                        (0.0, 0.0, 0.0, 0.0))  # fmt: skip
    angle = np.deg2rad(95)
    pixels, inside = model.project([np.sin(angle), 0.0, np.cos(angle)])
    assert inside and abs(pixels[0] - (399.5 + 230 * angle)) < 1e-9


def test_points_behind_a_pinhole_have_no_pixel() -> None:
    pixels, inside = MODELS["none"].project([[0.1, 0.1, -2.0], [0.0, 0.0, 0.0], [9.0, 0.0, 1.0]])
    assert not inside.any()
    assert np.isnan(pixels[:2]).all() and np.isfinite(pixels[2]).all()


def test_a_ray_beyond_the_turning_point_of_the_polynomial_is_not_folded_back() -> None:
    model = CameraModel(640, 360, K, "plumb_bob", (-0.3, 0.0, 0.0, 0.0))
    far_out = [2.5, 0.0, 1.0]  # the cubic has come back into the image by then
    assert not model.project(far_out)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((640, 360, np.zeros((3, 3))), "not calibrated"),
        ((640, 360, K * np.nan), "finite"),
        ((0, 360, K), "0x360"),
        ((640, 360, K, "pincushion", ()), "'pincushion' is not one of: none, plumb_bob"),
        ((640, 360, K, "equidistant", (0.1,)), "takes 4 finite coefficients"),
    ],
)
def test_bad_calibrations_are_refused_by_name(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CameraModel(*arguments)


def test_models_compare_by_value() -> None:
    assert MODELS["plumb_bob"] == CameraModel(
        640, 360, K.tolist(), "plumb_bob", [-0.31, 0.12, 8e-4, -5e-4, -0.02]
    )
    assert MODELS["plumb_bob"] != MODELS["plumb_bob"].cropped(1, 0, 640, 360)


@any_model
def test_no_pixels_have_no_rays(model: CameraModel) -> None:
    assert model.rays(np.zeros((0, 2))).shape == (0, 3)
    assert model.project(np.zeros((0, 3)))[0].shape == (0, 2)

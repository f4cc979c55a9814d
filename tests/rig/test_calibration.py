"""CameraInfo's numbers as camera models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.rig.calibration import camera_model, centred, scaled_to_image

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


FIVE = (-0.30, 0.10, 3e-4, 2e-4, -0.01)
EIGHT = (0.7, -0.05, 3e-4, 2e-4, 0.01, 0.95, -0.02, 0.02)
PRISM = (1e-3, 2e-3, -1e-3, 5e-4)
FOUR = (-0.01, 0.03, -0.02, 0.004)


@pytest.mark.parametrize(
    ("name", "d", "wanted"),
    [
        ("plumb_bob", FIVE, ("plumb_bob", FIVE)),
        ("plumb_bob", FIVE[:4], ("plumb_bob", FIVE[:4])),
        ("Plumb Bob", FIVE, ("plumb_bob", FIVE)),
        ("plumb_bob", (*FIVE, 0, 0, 0), ("plumb_bob", FIVE)),
        ("plumb_bob", EIGHT, ("rational_polynomial", EIGHT)),
        ("brown_conrady", FIVE, ("plumb_bob", FIVE)),
        ("radtan", FIVE[:4], ("plumb_bob", FIVE[:4])),
        ("rational_polynomial", FIVE, ("plumb_bob", FIVE)),
        ("rational_polynomial", (*EIGHT, *(0.0,) * 6), ("rational_polynomial", EIGHT)),
        ("rational_polynomial", (*EIGHT, *PRISM), ("rational_polynomial", (*EIGHT, *PRISM))),
        (
            "rational_polynomial",
            (*EIGHT, *PRISM, 0.02, -0.01),
            ("rational_polynomial", (*EIGHT, *PRISM, 0.02, -0.01)),
        ),
        ("", FIVE, ("plumb_bob", FIVE)),
        ("none", EIGHT, ("rational_polynomial", EIGHT)),
        ("pinhole", FIVE, ("plumb_bob", FIVE)),
        ("pinhole", (0.0,) * 14, ("none", ())),
        ("equidistant", (*FOUR, 0.0), ("equidistant", FOUR)),
        ("equidistant", (), ("equidistant", (0.0,) * 4)),
        ("kannala_brandt", FOUR, ("equidistant", FOUR)),
        ("Kannala Brandt4", FOUR, ("equidistant", FOUR)),
        ("opencv_fisheye", FOUR, ("equidistant", FOUR)),
    ],
)
def test_lenses_as_drivers_publish_them(
    name: str, d: tuple[float, ...], wanted: tuple[str, tuple[float, ...]]
) -> None:
    model = camera_model(width=640, height=360, k=K, d=d, distortion_model=name)
    assert (model.distortion_model, model.distortion) == wanted


@pytest.mark.parametrize(
    ("name", "d", "reason"),
    [
        ("", FOUR, "name the model, plumb_bob or equidistant"),
        ("none", EIGHT[:6], "'none' with 6 coefficients: there are models of 4, 5, 8, 12, 14"),
        ("plumb_bob", FIVE[:2], "takes 4 or 5 finite coefficients"),
        ("plumb_bob", (*FIVE[:4], np.nan), "finite"),
        ("thin_prism_fisheye", (0.0,) * 8, "'thin_prism_fisheye' is not one of"),
        ("inverse_brown_conrady", FIVE, "'inverse_brown_conrady' is not one of"),
        ("equidistant", (*FOUR, 0.1), "takes 4 finite coefficients"),
    ],
)
def test_a_lens_that_is_not_known_is_refused_by_name(
    name: str, d: tuple[float, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        camera_model(width=640, height=360, k=K, d=d, distortion_model=name)


def test_the_fourth_column_of_p_is_where_the_second_camera_of_a_pair_stands() -> None:
    matrix = np.reshape(P, (3, 4)).copy()
    matrix[0, 3] = -480.0 * 0.12
    point = np.array([0.5, 0.2, 4.0])
    right = camera_model(width=640, height=360, k=K, p=matrix.ravel(), rectified=True)
    u, v, w = matrix @ [*point, 1.0]
    assert np.allclose(right.project(point)[0], (u / w, v / w))
    mount = RigidTransform.from_quaternion((-0.5, 0.5, -0.5, 0.5), (1.0, 0.2, 1.4))
    shared = {"left": "left_optical", "right": "left_optical"}
    model, base_from_camera = centred(right, mount, "right", shared)
    assert np.allclose(base_from_camera.translation, (1.0, 0.2 - 0.12, 1.4))
    assert np.allclose(model.project(point - (0.12, 0, 0))[0], (u / w, v / w))
    # In a frame of its own it stands where that is.
    own = {"left": "left_optical", "right": "right_optical"}
    assert centred(right, mount, "right", own) == (model, mount)
    left = camera_model(width=640, height=360, k=K, p=P, rectified=True)
    assert centred(left, mount, "left", shared) == (left, mount)


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
    with pytest.raises(ValueError, match="a calibration of 0x0 pixels"):
        camera_model(width=0, height=0, k=K)
    with pytest.raises(ValueError, match=r"roi 400x200 at \(300, 0\) reaches out of the 640x360"):
        camera_model(width=640, height=360, k=K, roi=(300, 0, 400, 200))
    with pytest.raises(ValueError, match="K must have 9 numbers"):
        camera_model(width=640, height=360, k=K[:4])


def k(**numbers: float) -> tuple[float, ...]:
    """K with other numbers at some places."""
    places = {"skew": 1, "cx": 2, "lower": 3, "last": 8}
    values = list(K)
    for name, value in numbers.items():
        values[places[name]] = value
    return tuple(values)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"k": k(last=0.0)},
            r"intrinsics must be \[\[fx, skew, cx\], \[0, fy, cy\], \[0, 0, 1\]\]",
        ),
        ({"k": k(lower=3.0)}, "intrinsics must be"),
        ({"k": k(skew=1e12)}, r"skew = 1e\+12 px is more than fx"),
        ({"k": k(skew=-600.0)}, "skew = -600 px is more than fx"),
        ({"k": K, "d": (1e200, 0, 0, 0, 0), "distortion_model": "plumb_bob"}, "next to no pixel"),
        ({"k": K, "d": (-1e6, 0, 0, 0), "distortion_model": "equidistant"}, "next to no pixel"),
    ],
)
def test_numbers_that_describe_no_camera_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        camera_model(width=640, height=360, **fields)


def test_k_follows_the_size_of_the_image() -> None:
    model = camera_model(width=640, height=360, k=K)
    half = scaled_to_image(model, 320, 180)
    assert half.intrinsics[0, 0] == 250 and half.intrinsics[0, 2] == pytest.approx(160)
    with pytest.raises(ValueError, match="640x480 pixels, its CameraInfo describes 640x360"):
        scaled_to_image(model, 640, 480)

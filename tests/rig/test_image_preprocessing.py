"""The pixels that the network gets lie where its intrinsics say, and look as they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_ros.network_config import ImageConfig
from renderocc_ros.rig.camera_set import CameraSet, PosedImage
from renderocc_ros.rig.image_decoding import decode_image, reduced_model
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor, target_model

K = np.array([[1000.0, 0.0, 655.3], [0.0, 1005.0, 341.2], [0.0, 0.0, 1.0]])
FISHEYE = np.array([[420.0, 0.0, 641.0], [0.0, 421.0, 359.0], [0.0, 0.0, 1.0]])
MODELS = {
    "none": CameraModel(1280, 720, K),
    "plumb_bob": CameraModel(1280, 720, K, "plumb_bob", (-0.31, 0.12, 8e-4, -5e-4, -0.02)),
    "rational": CameraModel(
        1280, 720, K, "rational_polynomial", (0.7, -0.05, 3e-4, 2e-4, 0.01, 0.95, -0.02, 0.02)
    ),
    "equidistant": CameraModel(1280, 720, FISHEYE, "equidistant", (-0.02, 0.004, -0.003, 5e-4)),
    "small": CameraModel(320, 200, [[250, 0, 160], [0, 250, 99], [0, 0, 1]]),
}
CONFIG = ImageConfig(width=352, height=128)
LARGE = ImageConfig(width=704, height=256)
any_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
any_size = pytest.mark.parametrize("config", [CONFIG, LARGE], ids=["352", "704"])
Floats = NDArray[np.float64]


def set_of(*posed_images: tuple[str, NDArray[np.uint8], CameraModel]) -> CameraSet:
    pose = RigidTransform(np.eye(3), np.array([1.0, 2.0, 3.0]))
    built = tuple(PosedImage(name, 0, image, model, pose) for name, image, model in posed_images)
    return CameraSet(0, tuple(posed.name for posed in built), built)


def dots(model: CameraModel, pixels: Floats, radius: float) -> NDArray[np.uint8]:
    """Smooth white dots on black, centred on sub-pixel places."""
    image, reach = np.zeros((model.height, model.width)), round(6 * radius)
    for x, y in pixels:
        rows = slice(max(round(y) - reach, 0), round(y) + reach + 1)
        columns = slice(max(round(x) - reach, 0), round(x) + reach + 1)
        part = image[rows, columns]
        v, u = np.mgrid[: part.shape[0], : part.shape[1]]
        away = (u + columns.start - x) ** 2 + (v + rows.start - y) ** 2
        np.maximum(part, np.exp(-away / (2 * radius**2)), out=part)
    return np.repeat((image * 255).round().astype(np.uint8)[..., None], 3, axis=-1)


def centroid(image: Floats, near: Floats, reach: int) -> Floats:
    """Centre of the brightness around a place."""
    x, y = near.round().astype(int)
    v, u = np.mgrid[y - reach : y + reach + 1, x - reach : x + reach + 1]
    weight = image[v, u]
    return np.array([(u * weight).sum(), (v * weight).sum()]) / weight.sum()


def far_points(config: ImageConfig, target: CameraModel) -> Floats:
    """Points in front of the camera, spread over the target's image."""
    u, v = np.meshgrid(
        np.linspace(30, config.width - 31, 5), np.linspace(24, config.height - 25, 3)
    )
    return target.rays(np.stack([u + 0.3, v - 0.2], axis=-1).reshape(-1, 2)) * 10


@any_model
@any_size
@pytest.mark.parametrize("source", ["raw", "jpeg"])
def test_known_points_land_on_their_dots(
    model: CameraModel, config: ImageConfig, source: str
) -> None:
    target = target_model(model, config)
    points = far_points(config, target)
    pixels, inside = model.project(points)
    points, pixels = points[inside], pixels[inside]
    assert len(points) >= 9
    step = max(1.0, model.width / config.width)
    image = dots(model, pixels, 1.2 * step)
    preprocess = ImagePreprocessor(config, normalise=False)
    if source == "jpeg":
        reduction = preprocess.reduction(model)
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        image, model = decode_image(data, reduction), reduced_model(model, reduction)
    result = preprocess(set_of(("c", image, model)))
    described = CameraModel(config.width, config.height, result.intrinsics[0])
    for expected in described.project(points)[0]:
        centre = centroid(result.images[0, 1].astype(float), expected, 8)
        assert np.abs(centre - expected).max() < 0.3


@any_model
def test_pixels_are_the_mean_of_what_their_area_shows(model: CameraModel) -> None:
    """Against an image of the target drawn from the scene itself, 4 x 4 samples per pixel."""
    target = target_model(model, CONFIG)
    frequency = target.intrinsics[0, 0] / 10  # waves of ten target pixels and more

    def scene(rays: Floats) -> Floats:
        ahead = rays[..., 2] > 0.05
        depth = np.where(ahead, rays[..., 2], 1.0)
        x, y = rays[..., 0] / depth, rays[..., 1] / depth
        waves = np.sin(2 * np.pi * frequency * x) * np.sin(2 * np.pi * frequency * (y + 0.3 * x))
        return np.where(ahead & np.isfinite(waves), 127.5 + 100 * waves, 127.5)

    fine = model.resized(2 * model.width, 2 * model.height)
    grey = scene(fine.pixel_rays()).reshape(model.height, 2, model.width, 2).mean(axis=(1, 3))
    image = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=-1)
    result = ImagePreprocessor(CONFIG, normalise=False)(set_of(("c", image, model)))
    samples = target.resized(4 * CONFIG.width, 4 * CONFIG.height)
    expected = scene(samples.pixel_rays()).reshape(CONFIG.height, 4, CONFIG.width, 4).mean((1, 3))
    seen = model.project(target.pixel_rays())[1]
    error = np.abs(result.images[0, 0] - expected)[seen]
    assert seen.mean() > 0.6
    assert error.mean() < 4.0 and np.quantile(error, 0.99) < 12.0


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_reduced_decoding_leaves_dots_where_the_reduced_model_says(
    reduction: int, kind: str
) -> None:
    model = CameraModel(641, 359, [[500, 0, 320.4], [0, 500, 180.1], [0, 0, 1]])
    places = np.array([[x + 0.37, y - 0.21] for x in range(80, 600, 80) for y in (90, 180, 270)])
    data = cv2.imencode(kind, dots(model, places, 1.5 * reduction))[1]
    image = decode_image(data, reduction)
    small = reduced_model(model, reduction)
    assert image.shape == (small.height, small.width, 3)
    expected = small.project(model.rays(places))[0]
    result = np.array([centroid(image[..., 0].astype(float), place, 4) for place in expected])
    assert np.abs(result - expected).max() < 0.06
    assert np.abs((result - expected).mean(axis=0)).max() < 0.02


@pytest.mark.parametrize("config", [CONFIG, LARGE], ids=["352", "704"])
def test_a_real_jpeg_looks_the_same_decoded_at_a_reduced_size(
    config: ImageConfig, recording: Callable[..., Path]
) -> None:
    """Against the whole image, scaled by means over areas; sharp edges differ a little."""
    folder = recording("data", "nuscenes", "samples", "CAM_FRONT")
    model = CameraModel(1600, 900, [[1266, 0, 816], [0, 1266, 491], [0, 0, 1]])
    preprocess = ImagePreprocessor(config, normalise=False)
    reduction = preprocess.reduction(model)
    assert reduction == {352: 4, 704: 2}[config.width]
    for path in sorted(folder.glob("*.jpg"))[::20]:
        data = path.read_bytes()
        whole = set_of(("c", decode_image(data), model))
        small = set_of(("c", decode_image(data, reduction), reduced_model(model, reduction)))
        plain, fast = preprocess(whole), preprocess(small)
        moved = np.abs(plain.intrinsics - fast.intrinsics)
        assert moved.max() < 1.0  # the windows differ by less than a pixel; each says exactly where
        error = np.abs(plain.images.astype(float) - fast.images)
        assert error.mean() < 3.0
        one, other = (x.images[0, 1].astype(np.float32) for x in (plain, fast))
        shift, _ = cv2.phaseCorrelate(one, other)
        expected = (fast.intrinsics - plain.intrinsics)[0, :2, 2]
        assert np.abs(np.array(shift) - expected).max() < 0.15


def test_decoding_gives_rgb_as_it_lies_on_the_sensor() -> None:
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :8] = (250, 100, 0)
    data = cv2.imencode(".png", image[..., ::-1])[1]
    assert (decode_image(data) == image).all()
    jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    turned = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\x00\x00" + turned + b"\x00\x00\x00\x00"
    jpeg = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (16, 8, 3)
    assert decode_image(jpeg).shape == (8, 16, 3)
    assert decode_image(memoryview(jpeg), 2).shape == (4, 8, 3)


def test_only_some_reductions_are_decoded() -> None:
    with pytest.raises(ValueError, match=r"not one of \(1, 2, 4, 8\)"):
        decode_image(b"", 3)


def test_values_are_normalised_in_the_order_of_the_network() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 352, 3), np.uint8)
    model = CameraModel(352, 128, [[300, 0, 176], [0, 300, 64], [0, 0, 1]])
    for order in ("rgb", "bgr"):
        config = ImageConfig(
            width=352, height=128, mean=(10, 20, 30), std=(2, 4, 8), channel_order=order
        )
        result = ImagePreprocessor(config)(set_of(("c", image, model)))
        plain = image if order == "rgb" else image[..., ::-1]
        plain = ((plain - np.array([10.0, 20, 30])) / [2, 4, 8]).transpose(2, 0, 1)
        assert result.images.dtype == np.float32
        assert np.abs(result.images[0] - plain).max() < 1e-4
        whole = ImagePreprocessor(config, normalise=False)(set_of(("c", image, model))).images
        assert whole.dtype == np.uint8
        assert (whole[0, 0] == image[..., 0 if order == "rgb" else 2]).all()


def test_a_missing_camera_is_zero_and_invalid() -> None:
    model = MODELS["small"]
    posed = set_of(("a", np.full((200, 320, 3), 200, np.uint8), model)).images[0]
    result = ImagePreprocessor(CONFIG)(CameraSet(0, ("a", "b"), (posed, None)))
    assert result.valid.tolist() == [True, False]
    assert not result.images[1].any() and result.images[0].any()
    assert result.ego_from_camera[0, :3, 3].tolist() == [1, 2, 3]


def test_a_plan_is_made_once_per_calibration_and_anew_after_recalibration() -> None:
    preprocess = ImagePreprocessor(CONFIG)
    first, other = MODELS["plumb_bob"], MODELS["small"]
    images = [np.zeros((m.height, m.width, 3), np.uint8) for m in (first, other)]
    for _ in range(3):
        same = CameraModel(1280, 720, K.copy(), "plumb_bob", first.distortion)
        before = preprocess(set_of(("a", images[0], same), ("b", images[1], other)))
    assert preprocess.plans_made == 2
    moved = first.cropped(-7, 0, 1280, 720)  # the principal point lies 7 pixels further right
    after = preprocess(set_of(("a", images[0], moved), ("b", images[1], other)))
    assert preprocess.plans_made == 3
    shift = after.intrinsics[0, 0, 2] - before.intrinsics[0, 0, 2]
    assert shift == pytest.approx(7.0 * 352 / 1280, abs=1e-6)


def test_what_the_source_does_not_show_is_zero_once_normalised() -> None:
    narrow = CameraModel(640, 360, [[100, 0, 320], [0, 100, 180], [0, 0, 1]], "equidistant", (0,) * 4)  # fmt: skip  # noqa: E501
    image = np.full((360, 640, 3), 255, np.uint8)
    config = ImageConfig(width=300, height=300, max_fov_deg=120.0)
    result = ImagePreprocessor(config)(set_of(("c", image, narrow)))
    assert result.intrinsics[0, 0, 0] == pytest.approx(150 / np.tan(np.deg2rad(60)))
    assert result.images[0, :, 150, 150].min() > 2.0
    tall = CameraModel(640, 120, [[100, 0, 320], [0, 100, 60], [0, 0, 1]], "equidistant", (0,) * 4)
    result = ImagePreprocessor(config)(set_of(("c", image[:120], tall)))
    assert np.abs(result.images[0, :, 0]).max() < 0.02


def test_the_window_covers_the_target_and_drops_the_sky() -> None:
    target = target_model(
        CameraModel(1600, 900, [[1266, 0, 816], [0, 1266, 491], [0, 0, 1]]), LARGE
    )
    assert target.intrinsics[0, 0] == pytest.approx(1266 * 0.44)
    assert target.intrinsics[1, 2] == pytest.approx((491 + 0.5) * 0.44 - 0.5 - 140, abs=0.2)


def test_images_may_be_written_where_the_caller_says() -> None:
    cameras = set_of(("c", np.full((200, 320, 3), 9, np.uint8), MODELS["small"]))
    out = np.empty((1, 3, 128, 352), np.float32)
    assert ImagePreprocessor(CONFIG)(cameras, out).images is out
    with pytest.raises(ValueError, match=r"it must be float32 \(1, 3, 128, 352\)"):
        ImagePreprocessor(CONFIG)(cameras, out.astype(np.float64))

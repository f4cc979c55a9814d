"""A camera: rays through its pixels, light collected, then what a real sensor makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_simulation.caster import Hits, Instant
from renderocc_simulation.shading import Shader

Float32 = NDArray[np.float32]

EXTRA_SAMPLES = ((-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))
CONTRAST = 0.10  # between neighbours, beyond which a pixel gets the extra samples
NO_CLASS = 255


@dataclass(frozen=True, eq=False)
class Exposure:
    """What a camera sees at its shutter.

    Attributes:
        radiance: (H, W, 3) float32, linear.
        range_m: (H, W) float32 along each pixel centre's ray; infinite where there is sky.
        depth_m: (H, W) float32 along the optical axis (z); zero where there is sky or no ray.
        class_id: (H, W) uint8; ``NO_CLASS`` where there is sky or no ray.
    """

    radiance: Float32
    range_m: Float32
    depth_m: Float32
    class_id: NDArray[np.uint8]


@dataclass(frozen=True)
class Development:
    """How one camera turns light into an image; differs from camera to camera.

    Attributes:
        exposure: stops above or below what its own metering finds.
        red, blue: gains of the white balance.
        noise: read noise, share of full scale; shot noise follows.
        vignette: loss of light at the corner, 0 to 1.
        quality: of the JPEG.
    """

    exposure: float
    red: float
    blue: float
    noise: float
    vignette: float
    quality: int = 92

    @staticmethod
    def draw(rng: np.random.Generator) -> Development:
        """A camera out of the box: no two are alike."""
        return Development(
            exposure=float(rng.normal(0, 0.22)),
            red=float(rng.normal(1, 0.025)),
            blue=float(rng.normal(1, 0.035)),
            noise=float(rng.uniform(0.003, 0.008)),
            vignette=float(rng.uniform(0.05, 0.28)),
        )


def look(
    instant: Instant,
    shader: Shader,
    model: CameraModel,
    world_from_camera: RigidTransform,
    rng: np.random.Generator,
) -> Exposure:
    """Cast, shade, and look again where neighbours differ."""
    height, width = model.height, model.width
    local = pixel_rays(model).reshape(-1, 3)
    origin = world_from_camera.translation.astype(np.float32)
    directions = _turned(world_from_camera, local)
    hits = instant.cast(origin, directions)
    angle = pixel_angle(model)
    openness = _openness(instant, shader, origin, directions, hits, (height, width))
    usable = np.nan_to_num(directions)
    dark = np.isnan(directions[:, 0])
    colour = shader.radiance(instant, origin, usable, hits, openness, angle, rng)
    colour[dark] = 0.0
    busy = np.flatnonzero(_busy(colour.reshape(height, width, 3)))
    if len(busy):
        pixels = np.stack([busy % width, busy // width], axis=1).astype(np.float64)
        spots = (pixels + np.array(EXTRA_SAMPLES)[:, None]).reshape(-1, 2)
        more = np.nan_to_num(_turned(world_from_camera, model.rays(spots)))
        extra_hits = instant.cast(origin, more)
        count = len(EXTRA_SAMPLES)
        extra = shader.radiance(
            instant, origin, more, extra_hits, np.tile(openness[busy], count), angle / 2, rng
        )
        colour[busy] = (colour[busy] + extra.reshape(count, -1, 3).sum(axis=0)) / (count + 1)
        colour[dark] = 0.0
    reach = np.where(hits.met, hits.range_m, np.inf).astype(np.float32)
    depth = np.where(hits.met, hits.range_m * np.nan_to_num(local[:, 2]), 0).astype(np.float32)
    shape = (height, width)
    return Exposure(
        colour.reshape(*shape, 3),
        reach.reshape(shape),
        depth.reshape(shape),
        instant.class_ids(hits, NO_CLASS).reshape(shape),
    )


@lru_cache(maxsize=8)
def pixel_rays(model: CameraModel) -> NDArray[np.float64]:
    """``model.pixel_rays()``, kept: every set asks for those of the same few cameras."""
    return model.pixel_rays()


def pixel_angle(model: CameraModel) -> float:
    """Angle in radians between the rays of two pixels in the image's middle."""
    middle = np.array([model.width / 2, model.height / 2])
    a, b = model.rays(np.stack([middle, np.add(middle, (1, 0))]))
    return float(np.arccos(np.clip(a @ b, -1, 1)))


def develop(
    radiance: Float32,
    settings: Development,
    model: CameraModel,
    rng: np.random.Generator,
    extra_stops: float = 0.0,
) -> NDArray[np.uint8]:
    """Light (H, W, 3) to an RGB image (H, W, 3) uint8: metering, vignette, noise, tone curve.

    Args:
        extra_stops: exposure that the metering does not know of.
    """
    brightness = radiance @ np.array([0.3, 0.6, 0.1], np.float32)
    seen = brightness[brightness > 0]
    level = float(np.exp(np.log(np.maximum(seen, 1e-3)).mean())) if seen.size else 1.0
    gain = 0.19 / max(level, 0.03) ** 0.85 * 2.0 ** (settings.exposure + extra_stops)
    u, v = np.meshgrid(np.linspace(-1, 1, model.width), np.linspace(-1, 1, model.height))
    shade = (1 - settings.vignette * (u**2 + v**2) / 2).astype(np.float32)
    light = radiance * (gain * shade)[..., None]
    light *= np.array([settings.red, 1.0, settings.blue], np.float32)
    light = cv2.GaussianBlur(light, (3, 3), 0.42)  # the lens
    strength = settings.noise * max(1.0, np.sqrt(gain))
    deviation = np.sqrt(strength**2 + np.maximum(light, 0) * strength * 0.06)
    light = np.maximum(light + deviation * rng.standard_normal(light.shape, np.float32), 0)
    # A film curve: straight through the middle, rolling off towards white (Narkowicz 2015, ACES).
    light = light * 0.9
    mapped = light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14)
    encoded = np.where(mapped < 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)
    return np.asarray((np.clip(encoded, 0, 1) * 255 + 0.5).astype(np.uint8))


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """An RGB image as a JPEG file."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"an image of {image.shape} could not be encoded as JPEG")
    return bytes(data.tobytes())


def _turned(world_from_camera: RigidTransform, local: NDArray[np.float64]) -> Float32:
    return (local @ world_from_camera.rotation.T).astype(np.float32)


def _openness(
    instant: Instant,
    shader: Shader,
    origin: Float32,
    directions: Float32,
    hits: Hits,
    shape: tuple[int, int],
) -> Float32:
    """Share of open sky (N,): one ray a pixel in a 4 x 4 pattern, smoothed over like depths."""
    height, width = shape
    met = np.flatnonzero(hits.met)
    value = np.ones(height * width, np.float32)
    if len(met):
        row, column = met // width, met % width
        number = (row % 4) * 4 + column % 4
        order = np.random.default_rng(5).permutation(16)
        angle = ((order[number] + 0.5) / 16).astype(np.float32)
        tilt = ((number % 4 + number // 4 * 0.25 + 0.1) / 4).astype(np.float32)
        points = origin + directions[met] * hits.range_m[met, None]
        sample = np.stack([angle, tilt], axis=1)
        value[met] = shader.openness(instant, points, hits.normal[met], sample)
    picture = value.reshape(shape)
    depth = np.log(np.where(hits.met, hits.range_m, 500.0)).astype(np.float32).reshape(shape)
    total, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    depths, values = np.pad(depth, 2, mode="wrap"), np.pad(picture, 2, mode="wrap")
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            shifted = slice(2 - dy, 2 - dy + height), slice(2 - dx, 2 - dx + width)
            like = np.abs(depths[shifted] - depth) < 0.08
            share = like * np.float32((0.5 if abs(dy) == 2 else 1) * (0.5 if abs(dx) == 2 else 1))
            total += share * values[shifted]
            weight += share
    return (total / weight).reshape(-1)


def _busy(colour: Float32) -> NDArray[np.bool_]:
    """(H, W) pixels whose neighbours look different: those that one ray does not do justice."""
    tone = np.sqrt(np.clip(colour @ np.array([0.3, 0.6, 0.1], np.float32), 0, 4))
    busy = np.zeros(tone.shape, bool)
    step = np.abs(np.diff(tone, axis=0)) > CONTRAST
    busy[1:] |= step
    busy[:-1] |= step
    step = np.abs(np.diff(tone, axis=1)) > CONTRAST
    busy[:, 1:] |= step
    busy[:, :-1] |= step
    return busy

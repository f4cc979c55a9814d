"""A sample as other cameras would have taken it: what a drawn street lacks most is photography.

Tone, colours, sharpness, noise and compression differ far more between two real cameras than the
light of one simulated sequence does. Geometry and labels stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.network_config import ImageConfig
from renderocc_training.samples.training_sample import CameraViews, TrainingSample

Photos: TypeAlias = NDArray[np.float32]  # (N, H, W, 3), 0 to 1
Step: TypeAlias = Callable[[Photos, np.random.Generator], Photos]
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def retaken(
    sample: TrainingSample, config: ImageConfig, random: np.random.Generator
) -> TrainingSample:
    """The sample through a camera of another make, now and before the same one.

    Args:
        config: how the network's images are normalised.
    """
    seed = int(random.integers(1 << 62))

    def changed(views: CameraViews) -> CameraViews:
        mean, std = (np.array(v, np.float32)[:, None, None] for v in (config.mean, config.std))
        photos = np.moveaxis((views.images * std + mean) / 255, 1, -1)
        photos = retaken_photos(np.clip(photos, 0, 1), np.random.default_rng(seed))
        images = (np.moveaxis(photos, -1, 1) * 255 - mean) / std
        valid = views.valid[:, None, None, None]
        return replace(views, images=np.ascontiguousarray(images * valid, np.float32))

    return replace(sample, views=changed(sample.views), past=tuple(map(changed, sample.past)))


def retaken_photos(photos: Photos, random: np.random.Generator) -> Photos:
    """The same pictures through another camera; all of a sample alike, but for the exposure."""
    for chance, step in STEPS:
        if random.random() < chance:
            photos = np.clip(step(photos, random), 0, 1, dtype=np.float32)
    return photos


def _other_tone(photos: Photos, random: np.random.Generator) -> Photos:
    """Gamma, and each camera's exposure."""
    gamma = np.exp(random.uniform(-0.5, 0.5))
    exposure = np.exp(random.uniform(-0.35, 0.35, (len(photos), 1, 1, 1)))
    table = np.linspace(0, 1, 1025, dtype=np.float32) ** np.float32(gamma)
    places = np.multiply(photos, 1024, dtype=np.float32).astype(np.int16)
    return np.multiply(table[places], exposure, dtype=np.float32)


def _other_contrast(photos: Photos, random: np.random.Generator) -> Photos:
    middle = photos.mean()
    contrast = np.float32(np.exp(random.uniform(-0.45, 0.35)))
    changed: Photos = middle + contrast * (photos - middle)
    return changed


def _other_colours(photos: Photos, random: np.random.Generator) -> Photos:
    """White balance, saturation, and a little of each colour in the others."""
    mixture = np.eye(3) + random.normal(0, 0.08, (3, 3))
    mixture /= mixture.sum(axis=1, keepdims=True)  # grey stays grey
    saturation = np.exp(random.uniform(-0.7, 0.4))
    to_grey = np.tile(LUMA, (3, 1))
    mixture = (saturation * np.eye(3) + (1 - saturation) * to_grey) @ mixture
    balance = np.exp(random.uniform(-0.15, 0.15, 3))
    mixture = (balance[:, None] * mixture).astype(np.float32)
    return np.stack([cv2.transform(photo, mixture) for photo in photos])


def _no_colours(photos: Photos, random: np.random.Generator) -> Photos:
    return np.repeat((photos @ LUMA)[..., None], 3, axis=-1)


def _vignette(photos: Photos, random: np.random.Generator) -> Photos:
    height, width = photos.shape[1:3]
    down, right = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    shade = 1 - random.uniform(0, 0.25) * (down**2 + right**2)
    return photos * shade[..., None].astype(np.float32)


def _stains(photos: Photos, random: np.random.Generator) -> Photos:
    """Light and shade of low frequency: real surfaces are of more than one colour."""
    height, width = photos.shape[1:3]
    strength = np.float32(random.uniform(0, 0.2))
    cells = int(random.integers(3, 9)), int(random.integers(5, 20))
    coarse = random.normal(0, 1, (len(photos), *cells)).astype(np.float32)
    size, smooth = (width, height), cv2.INTER_CUBIC
    shade = np.stack([cv2.resize(each, size, interpolation=smooth) for each in coarse])
    return np.multiply(photos, 1 + strength * shade[..., None], dtype=np.float32)


def _blur(photos: Photos, random: np.random.Generator) -> Photos:
    sigma = random.uniform(0.3, 1.2)
    return np.stack([cv2.GaussianBlur(photo, (0, 0), sigma) for photo in photos])


def _sharpening(photos: Photos, random: np.random.Generator) -> Photos:
    amount = np.float32(random.uniform(0.2, 0.8))
    soft = np.stack([cv2.GaussianBlur(photo, (0, 0), 1.0) for photo in photos])
    return np.add(photos, amount * (photos - soft), dtype=np.float32)


def _noise(photos: Photos, random: np.random.Generator) -> Photos:
    sigma = np.float32(random.uniform(0, 0.05))
    return photos + sigma * random.standard_normal(photos.shape, dtype=np.float32)


def _jpeg(photos: Photos, random: np.random.Generator) -> Photos:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(25, 85))]
    whole = np.round(photos * 255).astype(np.uint8)
    files = [cv2.imencode(".jpg", photo, quality)[1] for photo in whole]
    read = np.stack([cv2.imdecode(file, cv2.IMREAD_COLOR) for file in files])
    scaled: Photos = read / np.float32(255)
    return scaled


# In the order in which they happen on the way from the street to the file.
STEPS: tuple[tuple[float, Step], ...] = (
    (0.5, _stains),
    (0.4, _vignette),
    (0.9, _other_tone),
    (0.8, _other_contrast),
    (0.8, _other_colours),
    (0.1, _no_colours),
    (0.3, _blur),
    (0.2, _sharpening),
    (0.5, _noise),
    (0.4, _jpeg),
)

"""Samples as other cameras would have taken them: what changes, what stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from renderocc_ros.network_config import ImageConfig
from renderocc_training.samples import photographing
from renderocc_training.samples.photographing import retaken, retaken_photos
from renderocc_training.samples.training_sample import CameraViews, TrainingSample
from renderocc_training.supervision.rays.ray_batch import RayBatch

CONFIG = ImageConfig(width=48, height=32, mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 40.0))
Step = Callable[..., NDArray[np.float32]]


def photos(count: int = 2) -> NDArray[np.float32]:
    """Fine chequers over a slope of light and colour."""
    rows, columns = np.mgrid[:32, :48]
    chequers = ((rows // 2 + columns // 2) % 2) * 0.3
    slope = np.stack([rows / 80, columns / 120, (rows + columns) / 200], axis=-1) + 0.1
    return np.repeat((slope + chequers[..., None])[None], count, axis=0).astype(np.float32)


def sample() -> TrainingSample:
    mean, std = (np.array(value)[:, None, None] for value in (CONFIG.mean, CONFIG.std))
    images = ((np.moveaxis(photos(), -1, 1) * 255 - mean) / std).astype(np.float32)
    eye = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    seen = CameraViews(images, eye[:, :3, :3], eye, np.array([True, False]))
    labels = images[:, 0], np.zeros(images[:, 0].shape, np.uint8)
    return TrainingSample("s", seen, (seen,), eye[:1], RayBatch.padding(3), *labels)


def detail(pictures: NDArray[np.float32]) -> float:
    """Mean difference of neighbouring pixels."""
    return float(np.abs(np.diff(pictures, axis=2)).mean())


def test_pictures_change_and_nothing_else() -> None:
    before = sample()
    after, again = (retaken(before, CONFIG, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(after.views.images, again.views.images)
    assert after.views.images.dtype == np.float32 and after.views.images.flags.c_contiguous
    change = np.abs(after.views.images - before.views.images)[0].mean()
    assert 0.05 < change < 3
    assert not after.views.images[1].any()  # a missing camera stays dark
    assert np.array_equal(after.past[0].images, after.views.images)  # the same camera before
    assert after.rays is before.rays and after.depth_m is before.depth_m
    assert np.array_equal(after.views.intrinsics, before.views.intrinsics)


def test_without_any_step_the_picture_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographing, "STEPS", ())
    before = sample()
    after = retaken(before, CONFIG, np.random.default_rng(0))
    assert np.allclose(after.views.images[0], before.views.images[0], atol=1e-5)


@pytest.mark.parametrize("step", [step for _, step in photographing.STEPS])
def test_every_step_keeps_the_shape_and_changes_the_picture(step: Step) -> None:
    before = photos()
    after = step(before.copy(), np.random.default_rng(1))
    assert after.shape == before.shape and np.isfinite(after).all()
    assert np.abs(after - before).mean() > 1e-3


def test_the_steps_do_what_their_names_say() -> None:
    def by(name: str) -> NDArray[np.float32]:
        step: Step = getattr(photographing, name)
        return step(photos(), np.random.default_rng(1))

    assert detail(by("_blur")) < 0.9 * detail(photos())
    assert detail(by("_sharpening")) > 1.1 * detail(photos())
    assert detail(by("_noise")) > detail(photos())
    assert np.ptp(by("_no_colours"), axis=-1).max() == 0
    edge, middle = (
        (by("_vignette") / photos())[0, 0, 0, 0],
        (by("_vignette") / photos())[0, 16, 24, 0],
    )
    assert edge < middle <= 1.001
    grey = np.repeat(photos()[..., :1], 3, axis=-1)
    tinted = photographing._other_colours(grey, np.random.default_rng(1)) / grey
    assert np.ptp(tinted, axis=(0, 1, 2)).max() < 1e-3  # one gain a colour: grey is a grey still


def test_many_cameras_stay_pictures() -> None:
    made = [retaken_photos(photos(), np.random.default_rng(seed)) for seed in range(40)]
    assert all(each.dtype == np.float32 and each.min() >= 0 and each.max() <= 1 for each in made)
    means = [float(each.mean()) for each in made]
    assert min(means) < 0.3 < 0.55 < max(means)

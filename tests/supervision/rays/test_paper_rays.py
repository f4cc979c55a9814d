"""Rays and weights in the official way."""

from __future__ import annotations

import numpy as np

from renderocc_training.supervision.rays.paper_rays import (
    in_order_of_frames,
    paper_ray_weights,
    paper_rays,
)


def test_ray_goes_through_the_middle_of_its_pixel() -> None:
    k = np.array([[100, 0, 50.5], [0, 200, 20.5], [0, 0, 1]], np.float32)
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    pose[:3, 3] = 1, 2, 3
    ray = paper_rays(np.array([[50, 40]], np.float32), np.float32([9]), np.float32([4]), pose, k)
    np.testing.assert_allclose(ray[0, :7], [50, 40, 9, 4, 1, 2, 3])
    np.testing.assert_allclose(ray[0, 7:10], [1, 0, -0.1], atol=1e-6)
    np.testing.assert_allclose(ray[0, 10:], ray[0, 7:10] / np.sqrt(1.01), rtol=1e-6)


def test_weight_is_rarity_times_frame() -> None:
    own, other = np.zeros((2, 13), np.float32), np.zeros((2, 13), np.float32)
    own[:, 3] = other[:, 3] = 0, 1
    rays, auxiliary = in_order_of_frames([other, own], {0: [1], -1: [0]})
    assert auxiliary.tolist() == [False, False, True, True]
    weights = paper_ray_weights(rays, auxiliary, moving_ids=[1], class_counts=np.array([400, 100]))
    rare = np.exp(0.005 * 3)
    np.testing.assert_allclose(weights, [1, rare, 0.3, 0], rtol=1e-6)

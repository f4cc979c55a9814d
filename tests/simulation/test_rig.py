"""Simulated rigs: the shipped ones, what mounts mean, and rigs that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from renderocc_ros.config import Mount
from renderocc_simulation.rig import SimulatedCamera, load_simulated_rig, varied_rig
from renderocc_simulation.spec import PRESETS

SHIPPED = ("nuscenes", "two_cameras", "surround_fisheye")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_rigs_say_what_the_node_needs(name: str) -> None:
    rig = load_simulated_rig(name)
    assert [camera.name for camera in rig.cameras] == list(rig.config.names)
    for camera in rig.cameras:
        assert camera.simulated.model().width >= 1280


def test_mounts_turn_as_urdf_does() -> None:
    left = Mount(position_m=(1, 2, 3), yaw_deg=90).base_from_body()
    np.testing.assert_allclose(left.apply([1, 0, 0]), [1, 3, 3], atol=1e-12)
    down = Mount(position_m=(0, 0, 1), pitch_deg=30).base_from_body()
    assert down.apply([1, 0, 0])[2] == pytest.approx(1 - np.sin(np.deg2rad(30)))


def test_the_optical_axis_looks_where_the_mount_does() -> None:
    camera = load_simulated_rig("nuscenes").cameras[0]
    assert camera.name == "CAM_FRONT_LEFT"
    axis = camera.base_from_camera.rotation @ [0, 0, 1]
    assert np.rad2deg(np.arctan2(axis[1], axis[0])) == pytest.approx(55)
    assert (camera.base_from_camera.rotation @ [0, 1, 0])[2] == pytest.approx(-1)


@pytest.mark.parametrize("fov", [60.0, 90.0])
def test_a_pinhole_has_its_angle_of_view(fov: float) -> None:
    lens = SimulatedCamera(name="c", position_m=(0, 0, 1), width=800, height=600, fov_deg=fov)
    edges = lens.model().rays([[-0.5, 299.5], [799.5, 299.5]])
    assert np.rad2deg(np.arccos(edges[0] @ edges[1])) == pytest.approx(fov)


@pytest.mark.parametrize("size", [(704, 256), (352, 128), (1408, 512)])
def test_smaller_images_keep_the_projection(size: tuple[int, int]) -> None:
    for name in SHIPPED:
        for camera in load_simulated_rig(name).cameras:
            full, small = camera.simulated.model(), camera.simulated.sized(*size)
            directions = small.rays([[10.0, 20.0], [small.width / 2, small.height - 5.0]])
            directions = directions[np.isfinite(directions).all(axis=1)]
            big, little = full.project(directions)[0], small.project(directions)[0]
            scale = full.width / small.width
            np.testing.assert_allclose(big[:, 0] + 0.5, (little[:, 0] + 0.5) * scale, rtol=2e-3)


def test_no_image_is_larger_than_the_camera_has_it() -> None:
    full = PRESETS["full"]
    for name in SHIPPED:
        for camera in load_simulated_rig(name).cameras:
            model, sized = camera.simulated.model(), camera.simulated.sized(full.width, full.height)
            assert (sized.width, sized.height) == (model.width, model.height)
            np.testing.assert_array_equal(sized.intrinsics, model.intrinsics)


def test_a_varied_rig_is_another_robot_with_the_same_cameras() -> None:
    rig = load_simulated_rig("nuscenes")
    first, again, other = (varied_rig(rig, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again and first != other
    assert (first.config, first.lidar) == (rig.config, rig.lidar)
    for before, after in zip(rig.cameras, first.cameras, strict=True):
        assert after.config == before.config
        moved = np.subtract(after.simulated.position_m, before.simulated.position_m)
        assert np.abs(moved[:2]).max() <= 0.1 and -0.5 <= moved[2] <= 0.8
    cameras = [
        c.simulated for s in range(40) for c in varied_rig(rig, np.random.default_rng(s)).cameras
    ]
    heights = [camera.position_m[2] for camera in cameras]
    assert min(heights) < 1.2 and max(heights) > 2.1
    assert np.ptp([camera.pitch_deg for camera in cameras]) > 6
    front = [c.focal_px for c in cameras if c.name == "CAM_FRONT" and c.focal_px is not None]
    assert len(front) == 40 and min(front) < 1150 and max(front) > 1500  # the rig's own: 1280
    fisheyes = varied_rig(load_simulated_rig("surround_fisheye"), np.random.default_rng(0))
    assert all(c.simulated.distortion_model == "equidistant" for c in fisheyes.cameras)


BROKEN = {
    "in the ground": ("position_m: [1.5, 0, 1.5]", "position_m: [1.5, 0, -0.2]"),
    "not on a robot": ("position_m: [1.5, 0, 1.5]", "position_m: [150, 0, 1.5]"),
    "did you mean 'yaw_deg'": ("yaw_deg: 180", "yaw: 180"),
    "needs a fisheye lens": ("height: 480, fov_deg: 80}", "height: 480, fov_deg: 190}"),
    "must be those of rig": ("{name: behind", "{name: beside"),
    "one of fov_deg and focal_px": ("fov_deg: 80}", "fov_deg: 80, focal_px: 500}"),
    "takes 4 finite coefficients": (
        "fov_deg: 80}",
        "fov_deg: 80, distortion_model: equidistant, distortion: [1]}",
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_impossible_rigs_are_refused_with_the_reason(
    message: str, small_rig: Path, tmp_path: Path
) -> None:
    right, wrong = BROKEN[message]
    text = small_rig.read_text()
    assert right in text
    path = tmp_path / "rig.yaml"
    path.write_text(text.replace(right, wrong))
    with pytest.raises(ValueError, match=message):
        load_simulated_rig(str(path))


def test_a_rig_needs_cameras(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text("name: none\nrig: nuscenes\ncameras: []\n")
    with pytest.raises(ValueError, match="cameras"):
        load_simulated_rig(str(path))


def test_an_unknown_rig_is_answered_with_the_shipped_ones() -> None:
    with pytest.raises(ValueError, match="nuscenes, surround_fisheye, two_cameras"):
        load_simulated_rig("nuscene")

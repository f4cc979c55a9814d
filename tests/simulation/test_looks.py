"""How things look: noise tiles, road markings, light and shadow, what a sensor makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from renderocc_ros.config import OPTICAL, load_class_set
from renderocc_ros.geometry import CameraModel, RigidTransform
from renderocc_simulation import textures
from renderocc_simulation.caster import Instant, StaticScene
from renderocc_simulation.lighting import Light, draw_light
from renderocc_simulation.markings import WHITE, YELLOW, marking
from renderocc_simulation.materials import Material, MaterialTable, Texture, linear
from renderocc_simulation.mesh import Mesh, MeshBuilder
from renderocc_simulation.patterns import PATTERNS
from renderocc_simulation.pictures import class_picture, read_key_frame, write_pictures
from renderocc_simulation.sensors.camera import Development, Exposure, develop, look
from renderocc_simulation.shading import Shader
from renderocc_simulation.world.plan import StreetKind

LENS = CameraModel(80, 60, np.array([[50.0, 0, 39.5], [0, 50, 29.5], [0, 0, 1]]))
NEUTRAL = Development(exposure=0.0, red=1.0, blue=1.0, noise=0.0, vignette=0.0)


@pytest.mark.parametrize("name", ["fractal", "streaks", "cracks", "foliage", "pebbles"])
def test_tiles_repeat_and_keep_their_brightness_far_away(name: str) -> None:
    tile = getattr(textures, name)()
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 3.0, (2, 5000)).astype(np.float32)
    near = np.zeros(5000, np.float32)
    np.testing.assert_allclose(tile(points, 3.0, near), tile(points + 3.0, 3.0, near), atol=2e-2)
    close, far = tile(points, 3.0, near), tile(points, 3.0, near + 1.0)
    assert far.mean() == pytest.approx(close.mean(), abs=0.03)
    assert far.std() < close.std() / 2
    assert 0 <= close.min() < close.max() <= 1


def test_every_texture_has_its_pattern() -> None:
    assert set(PATTERNS) == set(Texture)


def code(kind: StreetKind, length_m: float) -> float:
    return round(length_m * 10) * 16 + int(kind)


def test_markings_lie_where_streets_have_them() -> None:
    street, lane = code(StreetKind.STREET, 60.0), code(StreetKind.LANE, 60.0)
    at = [
        (31.0, 0.0, street),  # a dash of the middle line
        (34.0, 0.0, street),  # the gap after it
        (31.0, 1.7, street),  # the middle of a lane
        (2.0, 0.8, street),  # a stripe of the crossing
        (2.0, 0.2, street),  # between two stripes
        (58.0, 0.8, street),  # the crossing at the other end
        (4.8, 2.0, street),  # where those who arrive stop,
        (4.8, -2.0, street),  # and those who leave do not
        (30.0, 0.14, lane),  # a double yellow line
        (30.0, 0.0, 15.0),  # a junction has none
    ]
    cover, colour = marking(np.array(at, np.float32).T, np.full(len(at), 0.01, np.float32))
    assert np.round(cover).tolist() == [1, 0, 0, 1, 0, 1, 1, 0, 1, 0]
    assert colour[8] == YELLOW
    assert (np.delete(colour, 8) == WHITE).all()


def yard(light: Light) -> tuple[Instant, Shader]:
    """A grey floor, and a wall along y at x = 5 m, 3 m high."""
    table = MaterialTable()
    grey = table.add(Material(Texture.PAINT, (128, 128, 128)))
    builder = MeshBuilder(0)
    builder.quads([(-50, -50, 0), (50, -50, 0), (50, 50, 0), (-50, 50, 0)], grey)
    builder.box((5, 0, 1.5), (0.2, 20, 3), grey)
    return Instant(StaticScene(builder.build()), Mesh.empty()), Shader(table.rows(), light)


def sunlight(towards: tuple[float, float, float]) -> Light:
    light = draw_light(np.random.default_rng(0), "day")
    direction = np.array(towards, np.float32)
    return replace(light, towards_sun=direction / np.linalg.norm(direction), softness_rad=1e-4)


def seen(light: Light) -> Exposure:
    instant, shader = yard(light)
    pose = RigidTransform(OPTICAL, np.array([0.0, 0.0, 1.5]))
    return look(instant, shader, LENS, pose, np.random.default_rng(0))


def test_depth_is_exact() -> None:
    view = seen(sunlight((-1, 0, 1)))
    assert view.depth_m[30, 40] == pytest.approx(4.9, abs=1e-4)
    np.testing.assert_allclose(view.depth_m[20:35], 4.9, atol=1e-3)  # a wall across the view
    assert view.depth_m[0, 40] == 0.0  # sky
    assert view.class_id[0, 40] == 255
    row = (1.5 / 3.5) * 50 + 29.5  # ground 3.5 m ahead
    ground = 1.5 * 50 / (np.ceil(row) - 29.5)
    assert view.depth_m[int(np.ceil(row)), 40] == pytest.approx(ground, abs=1e-4)


def test_walls_cast_shadows() -> None:
    lit, shaded = seen(sunlight((-1, 0, 1))), seen(sunlight((1, 0, 1)))  # 3 m of shadow
    spot = (int(29.5 + 50 * 1.5 / 4), 40)  # on the ground 4 m ahead
    assert lit.radiance[spot].mean() > 2 * shaded.radiance[spot].mean()
    assert shaded.radiance[spot].mean() > 0.01  # the sky still lights it
    free = (58, 40)  # 2.6 m ahead, two from the wall's shadow's end
    open_sun = seen(sunlight((0, 1, 1))).radiance[free].mean()
    assert open_sun == pytest.approx(lit.radiance[free].mean(), rel=0.2)


def test_exposure_noise_and_sensor() -> None:
    light = np.full((60, 80, 3), 0.3, np.float32)
    plain = develop(light, NEUTRAL, LENS, np.random.default_rng(0))
    assert plain.std() == 0
    brighter = develop(light, replace(NEUTRAL, exposure=1.0), LENS, np.random.default_rng(0))
    assert brighter.mean() > plain.mean() + 20
    noisy = develop(light, replace(NEUTRAL, noise=0.02), LENS, np.random.default_rng(0))
    assert 1 < noisy.std() < 20
    again = develop(light, replace(NEUTRAL, noise=0.02), LENS, np.random.default_rng(0))
    np.testing.assert_array_equal(noisy, again)


def test_srgb_is_linearised_as_the_standard_says() -> None:
    np.testing.assert_allclose(linear((0, 128, 255)), [0.0, 0.21586, 1.0], atol=1e-5)


def test_pictures_show_the_truth(small_drive: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="voxel pictures need the extra 'view'")
    frame = read_key_frame(small_drive, 1)
    assert set(frame.images) == {"ahead", "behind"}
    classes = load_class_set("occ3d")
    image = frame.truth.images[0]
    coloured = class_picture(image, classes)
    assert image.class_id is not None
    road = classes.id_of("driveable_surface")
    assert (coloured[image.class_id == road] == (255, 0, 255)).all()
    files = write_pictures(frame, tmp_path, columns=2)
    assert {file.name for file in files} == {
        "cameras.jpg", "depth.jpg", "classes.png", "lidar.jpg", "voxels.png",
    }  # fmt: skip
    for file in files:
        picture = cv2.imread(str(file))
        assert picture.std() > 10
    with pytest.raises(ValueError, match="has 2 key frames"):
        read_key_frame(small_drive, 9)

"""Towns: the same from the same seed, without holes, with everything that a class set asks for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from renderocc_ros.class_set import ClassSet
from renderocc_ros.config import load_class_set
from renderocc_ros.geometry import VoxelGrid
from renderocc_simulation.assets import palettes
from renderocc_simulation.assets.palettes import PALETTES
from renderocc_simulation.caster import Instant, StaticScene
from renderocc_simulation.lighting import LIGHTS, draw_light
from renderocc_simulation.materials import linear
from renderocc_simulation.mesh import Mesh
from renderocc_simulation.truth import Voxeliser
from renderocc_simulation.world.town import Split, Town, TownSpec, build_town

COARSE = VoxelGrid((-40.0, -40.0, -1.0), 0.8, (100, 100, 8))
SECONDS = 12.0


@pytest.fixture(scope="module")
def classes() -> ClassSet:
    return load_class_set("occ3d")


@pytest.fixture(scope="module")
def towns(classes: ClassSet) -> list[Town]:
    splits: tuple[Split, ...] = ("train", "train", "holdout")
    specs = [TownSpec(seed, SECONDS, split) for seed, split in enumerate(splits)]
    return [build_town(spec, classes) for spec in (*specs, replace(specs[1], vary_looks=True))]


def test_all_classes_occur_around_the_robot(towns: list[Town], classes: ClassSet) -> None:
    result: set[int] = set()
    for town in towns:
        voxeliser = Voxeliser(town.static, COARSE)
        for time_s in (0.5, SECONDS / 2, SECONDS - 0.5):
            pose = town.world_from_ego(time_s)
            result |= set(voxeliser.surface(town.moving_mesh(time_s), pose).labels.tolist())
    missing = [classes.names[number] for number in range(17) if number not in result]
    assert not missing


def test_a_seed_is_a_town(towns: list[Town], classes: ClassSet) -> None:
    again = build_town(TownSpec(1, SECONDS), classes)
    np.testing.assert_array_equal(again.static.vertices, towns[1].static.vertices)
    np.testing.assert_array_equal(again.static.class_id, towns[1].static.class_id)
    np.testing.assert_array_equal(again.materials.colour, towns[1].materials.colour)
    np.testing.assert_array_equal(again.ego.arc_m, towns[1].ego.arc_m)
    assert len(towns[0].static) != len(towns[1].static)


@pytest.fixture(scope="module")
def instants(towns: list[Town]) -> list[Instant]:
    return [Instant(StaticScene(town.static), Mesh.empty()) for town in towns]


def test_the_robot_stands_on_the_carriageway(towns: list[Town], instants: list[Instant]) -> None:
    for town, instant in zip(towns, instants, strict=True):
        for time_s in np.arange(0.0, SECONDS, 0.5):
            pose = town.world_from_ego(float(time_s))
            above = np.add(pose.translation, (0, 0, 1.0))
            hits = instant.cast(above, np.array([[0.0, 0.0, -1.0]]))
            assert abs(hits.range_m[0] - 1.0) < 0.12
            assert instant.class_ids(hits, 255)[0] == 11


def test_the_ground_has_no_holes(towns: list[Town], instants: list[Instant]) -> None:
    rng = np.random.default_rng(0)
    for town, instant in zip(towns, instants, strict=True):
        here = town.world_from_ego(3.0).translation
        above = here + np.concatenate(
            [rng.uniform(-60, 60, (40000, 2)), np.full((40000, 1), 80.0)], axis=1
        )
        hits = instant.cast(above, np.tile([[0.0, 0.0, -1.0]], (40000, 1)))
        assert hits.met.all()


def test_the_robot_hits_nobody(towns: list[Town]) -> None:
    for town in towns:
        for time_s in np.arange(0.0, SECONDS, 0.5):
            ego_from_world = town.world_from_ego(float(time_s)).inverse()
            for agent in town.moving:
                x, y, _ = (ego_from_world @ agent.pose(float(time_s))).translation
                assert not (-1.0 < x < 3.6 and abs(y) < 0.9), f"{agent.name} at {time_s} s"


def test_agents_move_as_their_speed_says(towns: list[Town]) -> None:
    moved = 0
    for agent in towns[0].moving:
        before, after = agent.pose(4.95).translation, agent.pose(5.05).translation
        assert np.linalg.norm(after - before) / 0.1 == pytest.approx(agent.speed(5.0), abs=0.15)
        moved += agent.speed(5.0) > 0.5
    assert moved > 20


def test_hold_out_towns_share_no_asset_with_training_towns() -> None:
    train, holdout = PALETTES["train"], PALETTES["holdout"]
    assert train.keys() == holdout.keys()
    for kind in train:
        assert not set(train[kind]) & set(holdout[kind]), kind
    for table in ("CAR_SHAPES", "TRUCK_KINDS", "TRAILER_KINDS", "MACHINE_KINDS", "TREE_KINDS",
                  "BUS_SHAPES", "FACADE_STYLES"):  # fmt: skip
        shapes = getattr(palettes, table)
        assert not set(shapes["train"]) & set(shapes["holdout"]), table


def test_varied_looks_are_wider_than_the_catalogue(towns: list[Town], classes: ClassSet) -> None:
    again = build_town(TownSpec(1, SECONDS, vary_looks=True), classes)
    np.testing.assert_array_equal(again.static.vertices, towns[3].static.vertices)
    np.testing.assert_array_equal(again.materials.colour, towns[3].materials.colour)

    catalogue = [linear(colour) for kind in PALETTES["train"].values() for colour in kind]
    known = np.concatenate([catalogue, towns[1].materials.colour])

    def unknown(town: Town) -> float:
        away = np.linalg.norm(town.materials.colour[:, None] - known, axis=2).min(axis=1)
        return float((away > 0.1).mean())

    assert unknown(towns[0]) < 0.005
    assert unknown(towns[3]) > 0.05

    def widths(town: Town) -> list[float]:
        agents = (*town.standing, *town.moving)
        return [a.asset.size_m[1] for a in agents if a.asset.class_name == "car"]

    assert np.std(widths(towns[3])) > 1.5 * np.std(widths(towns[1]))


def test_agents_of_a_class_differ(towns: list[Town]) -> None:
    cars = [agent.asset for agent in towns[0].standing if agent.asset.class_name == "car"]
    assert len({car.size_m for car in cars}) >= 6
    looks = {frozenset(car.mesh.material.tolist()) for car in cars}
    assert len(looks) >= 6


@pytest.mark.parametrize("name", LIGHTS)
def test_lights_are_what_they_are_called(name: str) -> None:
    drawn = [draw_light(np.random.default_rng(seed), name) for seed in range(5)]  # type: ignore[arg-type]
    heights = [np.rad2deg(np.arcsin(light.towards_sun[2])) for light in drawn]
    assert len({round(height, 3) for height in heights}) == 5
    if name == "dusk":
        assert max(heights) < 13
    if name == "overcast":
        assert max(light.sun.max() for light in drawn) < 0.1
    if name == "day":
        assert min(light.sun.min() for light in drawn) > 0.3


@pytest.mark.parametrize(
    ("seed", "seconds", "message"),
    [(-1, 5.0, "seed"), (0, 0.0, "seconds"), (0, 1e5, "seconds"), (0, math.nan, "seconds = nan")],
)
def test_towns_that_cannot_be(seed: int, seconds: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TownSpec(seed, seconds)

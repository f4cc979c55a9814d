"""A town and a drive through it, whole: built from a seed, always the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.assets import cars, lorries, machines, people, plants, street
from renderocc_simulation.assets.palettes import Split
from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.lighting import Light, LightName, draw_light
from renderocc_simulation.materials import MaterialRows, MaterialTable, Texture
from renderocc_simulation.mesh import Mesh
from renderocc_simulation.world.blocks import GROUND, KINDS, Site, Stock, fill_block
from renderocc_simulation.world.ground import (
    GroundMaterials,
    RoundedRectangle,
    block_mesh,
    horizon_mesh,
    junction_mesh,
    section_mesh,
    street_sections,
)
from renderocc_simulation.world.kerbside import dress_section
from renderocc_simulation.world.plan import KERB_M, Block, Street, TownPlan
from renderocc_simulation.world.routes import Node, Path, path_through, random_nodes
from renderocc_simulation.world.traffic import (
    Agent,
    Driver,
    Motion,
    drive_all,
    on_slope,
    touch,
    walk,
)

Array = NDArray[np.float64]

EGO_LENGTH_M = 4.6
EGO_START_M = 12.0
WHEELBASE_M = 2.8
REAR_AXLE_M = 1.35  # behind the middle of the body, which the motion is about
SPLIT_NUMBER: dict[Split, int] = {"train": 0, "holdout": 1}


@dataclass(frozen=True)
class TownSpec:
    """What a town follows from.

    Attributes:
        seed: any whole number of at least 0.
        seconds: length of the drive, above 0 and at most 600.
        split: whose assets and palettes.
        light: the time of day and weather; drawn from the seed if None.
        traffic: vehicles that drive.
        walkers: people that walk.
        limit_m_s: the robot's speed where the street is straight and free.
        vary_looks: whether colours, proportions and loads are drawn from wide ranges.
    """

    seed: int
    seconds: float
    split: Split = "train"
    light: LightName | None = None
    traffic: int = 22
    walkers: int = 36
    limit_m_s: float = 8.5
    vary_looks: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: must be 0 or more")
        if not 0 < self.seconds <= 600:
            raise ValueError(f"seconds = {self.seconds}: must be above 0 and at most 600")


@dataclass(frozen=True, eq=False)
class Town:
    """Everything there is.

    Attributes:
        static: what never moves, in world coordinates: ground, buildings, and what stands.
        standing: agents with a box that never move; part of ``static`` as well.
        moving: agents that drive or walk.
    """

    plan: TownPlan
    static: Mesh
    standing: tuple[Agent, ...]
    moving: tuple[Agent, ...]
    ego: Motion
    materials: MaterialRows
    light: Light

    def world_from_ego(self, time_s: float) -> RigidTransform:
        """Pose of base_link: on the ground below the middle of the rear axle."""
        arc = self.ego.arc_at(time_s) - REAR_AXLE_M
        yaw = self.ego.heading_at(arc + WHEELBASE_M / 2, WHEELBASE_M)
        return on_slope(self.plan, self.ego.path.at(arc), yaw)

    def moving_mesh(self, time_s: float) -> Mesh:
        """What moves, in world coordinates."""
        return Mesh.joined(agent.mesh(time_s) for agent in self.moving)


def build_town(spec: TownSpec, classes: ClassSet) -> Town:
    """The town of a seed."""
    key = [spec.seed, SPLIT_NUMBER[spec.split]]
    rng = np.random.default_rng(key)
    plan = TownPlan(rng)
    table = MaterialTable()
    variety = np.random.default_rng([*key, 79]) if spec.vary_looks else None
    studio = Studio(spec.split, rng, table, classes, variety)
    stock = _stock(studio)
    nodes = random_nodes(plan, rng, spec.seconds * spec.limit_m_s + 120)
    route = path_through(plan, nodes)
    reached = route.arc_m < EGO_START_M + spec.seconds * spec.limit_m_s + 30
    near = route.plan_uv[reached]
    site = Site(plan, studio, stock)
    kinds = _block_kinds(plan, near, rng)
    _lay_ground(site, kinds, studio)
    for block in plan.blocks:
        fill_block(site, block, kinds[block], near)
    for section, start, end in _sections(plan):
        dress_section(site, section, start, end, near)
    standing = tuple(
        Agent(f"{asset.class_name}_{k:04d}", asset, world_from_asset=pose)
        for k, (asset, pose) in enumerate(site.boxed)
    )
    ego, moving = _traffic(spec, plan, studio, stock, route, nodes)
    moving += _walkers(spec, plan, studio, kinds, near)
    static = Mesh.joined([*site.meshes, *(agent.mesh(0.0) for agent in standing)])
    light = draw_light(rng, spec.light)
    return Town(plan, static, standing, tuple(moving), ego, table.rows(), light)


def _stock(studio: Studio) -> Stock:
    def several(maker: Callable[[Studio], Asset], count: int) -> list[Asset]:
        return [maker(studio) for _ in range(count)]

    return Stock(
        cars=several(cars.car, 14),
        trucks=several(lorries.truck, 5),
        buses=several(lorries.bus, 3),
        trailers=several(lorries.trailer, 4),
        machines=several(machines.construction_vehicle, 3),
        cones=several(street.traffic_cone, 4),
        barriers=several(street.barrier, 4),
        clutter=several(street.clutter, 8),
        cycles=[people.bicycle(studio, ridden=False) for _ in range(3)],
        motorcycles=[people.motorcycle(studio, ridden=False) for _ in range(3)],
        trees=[studio.stretched(plants.tree(studio, conifer=False), 0.3) for _ in range(6)],
        conifers=[studio.stretched(plants.tree(studio, conifer=True), 0.3) for _ in range(3)],
        bushes=[studio.stretched(plants.bush(studio), 0.3) for _ in range(4)],
        lamp=street.lamp_post(studio, studio.uniform(5.0, 7.5)),
    )


def _block_kinds(plan: TownPlan, near: Array, rng: np.random.Generator) -> dict[Block, str]:
    """Kinds in the order in which the route passes the blocks, so that it sees all of them soon."""

    def first_met(block: Block) -> float:
        low, high = np.array(block.low), np.array(block.high)
        outside = np.maximum(np.maximum(low - near, near - high), 0)
        close = np.linalg.norm(outside, axis=1) < 22
        return float(close.argmax()) if close.any() else np.inf

    order = sorted(plan.blocks, key=first_met)
    deck = [KINDS[k] for _ in range(len(order)) for k in rng.permutation(len(KINDS))]
    return dict(zip(order, deck, strict=False))


def _sections(plan: TownPlan) -> list[tuple[Street, float, float]]:
    return street_sections(plan.across, plan.along) + street_sections(plan.along, plan.across)


def _lay_ground(site: Site, kinds: dict[Block, str], studio: Studio) -> None:
    plan = site.plan
    ids = {name: studio.classes.id_of(name) for name in studio.classes.names}
    marking = studio.colour("marking")

    def rows(kind: str) -> GroundMaterials:
        grass = studio.material(Texture.GRASS, studio.colour("grass"), studio.colour("soil"))
        paving = studio.material(
            Texture.PAVING, studio.colour("paving"), scale=studio.pick((0.4, 0.6, 1.0))
        )
        lands = {
            "downtown": paving,
            "yard": studio.material(Texture.GRAVEL, studio.colour("concrete")),
            "site": studio.material(Texture.GRAVEL, studio.colour("soil")),
        }
        return GroundMaterials(
            asphalt=studio.material(Texture.ASPHALT, studio.colour("asphalt"), marking),
            kerb=studio.material(Texture.PAVING, studio.colour("kerb"), scale=1.0),
            verge=grass,
            sidewalk=paving,
            land=lands.get(kind, grass),
            island=studio.material(Texture.PAVING, studio.colour("island"), scale=0.2),
            far=studio.material(Texture.GRASS, studio.colour("grass"), studio.colour("leaves")),
        )

    for block in plan.blocks:
        kind = kinds[block]
        site.meshes.append(block_mesh(plan, block, GROUND[kind], rows(kind), ids))
    for section, start, end in _sections(plan):
        site.meshes.append(section_mesh(plan, section, start, end, rows(""), ids))
    for across in plan.across:
        for along in plan.along:
            site.meshes.append(junction_mesh(plan, across, along, rows(""), ids))
    site.meshes.append(horizon_mesh(plan, rows(""), ids))


def _traffic(
    spec: TownSpec,
    plan: TownPlan,
    studio: Studio,
    stock: Stock,
    route: Path,
    nodes: list[Node],
) -> tuple[Motion, list[Agent]]:
    """The robot and the other vehicles: ahead of it, coming towards it, and anywhere near."""
    drivers = [Driver(route, EGO_START_M, spec.limit_m_s, EGO_LENGTH_M)]
    assets: list[Asset] = []
    spots = [route.at(EGO_START_M)[:2]]
    reach = spec.seconds * spec.limit_m_s + 150
    for k in range(spec.traffic * 6):
        if len(assets) == spec.traffic:
            break
        asset = _moving_asset(studio, stock, k)
        slow = asset.class_name == "bicycle"
        shift = 0.8 if slow else 0.0
        choice = studio.rng.random()
        if choice < 0.25:
            way = nodes
        elif choice < 0.7:
            way = nodes[::-1]
        else:
            way = random_nodes(plan, studio.rng, reach)
        path = path_through(plan, way, int(studio.rng.integers(2)), shift)
        end = min(path.length_m - 30, reach)
        if way is nodes[::-1] or choice >= 0.25:
            end = path.length_m - 30
        start = studio.uniform(5.0, max(end, 6.0))
        spot = path.at(start)[:2]
        gap = min(float(np.linalg.norm(spot - other)) for other in spots)
        if gap < 9 + asset.size_m[0] / 2 or np.linalg.norm(spot - spots[0]) > reach:
            continue
        limit = studio.uniform(3.2, 5.0) if slow else studio.uniform(6.0, 11.0)
        drivers.append(Driver(path, start, limit, asset.size_m[0]))
        assets.append(asset)
        spots.append(spot)
    motions = drive_all(drivers, spec.seconds)
    agents = [
        Agent(f"moving_{asset.class_name}_{k:03d}", asset, plan, motion)
        for k, (asset, motion) in enumerate(zip(assets, motions[1:], strict=True))
        # At a junction two may still want the same place: then the other was never there.
        if not touch(drivers[0], motions[0], drivers[k + 1], motion)
    ]
    return motions[0], agents


def _moving_asset(studio: Studio, stock: Stock, number: int) -> Asset:
    """In turns, so that a handful of agents already holds every class."""
    makers: tuple[Callable[[], Asset], ...] = (
        lambda: studio.pick(stock.cars),
        lambda: studio.pick(stock.buses),
        lambda: people.motorcycle(studio, ridden=True),
        lambda: studio.pick(stock.cars),
        lambda: studio.pick(stock.trucks),
        lambda: people.bicycle(studio, ridden=True),
        lambda: studio.pick(stock.cars),
    )
    return makers[number % len(makers)]()


def _walkers(
    spec: TownSpec, plan: TownPlan, studio: Studio, kinds: dict[Block, str], near: Array
) -> list[Agent]:
    """People on the sidewalks of the blocks that the route passes."""
    agents: list[Agent] = []
    blocks = list(kinds)[:8]  # the order of ``kinds`` is the route's
    for k in range(spec.walkers):
        block = blocks[k % len(blocks)]
        ground = GROUND[kinds[block]]
        inside = 0.17 + ground.verge_m + ground.sidewalk_m * studio.uniform(0.35, 0.75)
        ring = RoundedRectangle(block.low, block.high).ring(inside)
        fine = _densified(np.concatenate([ring, ring, ring[:1]]))
        if studio.chance(0.5):
            fine = fine[::-1]
        path = Path(fine, plan.lift(fine, KERB_M + 0.03))
        close = np.linalg.norm(path.plan_uv[:, None] - near[None, ::8], axis=2).min(axis=1) < 30
        spots = np.flatnonzero(close[: len(fine) // 2])
        if not len(spots):
            continue
        start = float(path.arc_m[studio.rng.choice(spots)])
        motion = walk(path, start, studio.uniform(0.9, 1.7), spec.seconds)
        asset = people.pedestrian(studio)
        agents.append(Agent(f"walking_pedestrian_{k:03d}", asset, plan, motion))
    return agents


def _densified(line: Array) -> Array:
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    arc = np.concatenate([[0.0], np.cumsum(steps)])
    fine = np.arange(0, arc[-1], 1.0)
    return np.stack([np.interp(fine, arc, line[:, k]) for k in range(2)], axis=1)

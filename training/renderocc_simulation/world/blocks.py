"""What stands on a block, and along its sidewalks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.assets import buildings, plants, street
from renderocc_simulation.assets.studio import Asset, Studio
from renderocc_simulation.materials import Texture
from renderocc_simulation.mesh import Mesh, MeshBuilder
from renderocc_simulation.world.ground import BlockGround
from renderocc_simulation.world.plan import CORNER_RADIUS_M, KERB_M, Block, TownPlan

Array = NDArray[np.float64]

KINDS = ("downtown", "homes", "site", "park", "yard")
GROUND = {
    "downtown": BlockGround(0.0, 3.8, "sidewalk", 0.0),
    "homes": BlockGround(1.3, 1.9, "terrain", 0.15),
    "site": BlockGround(0.0, 2.4, "terrain", 0.05),
    "park": BlockGround(1.0, 2.6, "terrain", 0.6),
    "yard": BlockGround(0.0, 2.2, "other_flat", 0.0),
}


@dataclass(eq=False)
class Stock:
    """Assets made once for a town and used many times."""

    cars: list[Asset]
    trucks: list[Asset]
    buses: list[Asset]
    trailers: list[Asset]
    machines: list[Asset]
    cones: list[Asset]
    barriers: list[Asset]
    clutter: list[Asset]
    cycles: list[Asset]
    motorcycles: list[Asset]
    trees: list[Mesh]
    conifers: list[Mesh]
    bushes: list[Mesh]
    lamp: Mesh


@dataclass(eq=False)
class Site:
    """Collects what is put up: plain meshes, and things with boxes."""

    plan: TownPlan
    studio: Studio
    stock: Stock
    meshes: list[Mesh] = field(default_factory=list)
    boxed: list[tuple[Asset, RigidTransform]] = field(default_factory=list)

    def put(self, mesh: Mesh, uv: Array, direction: Array, up: float = KERB_M + 0.03) -> None:
        """A mesh that looks along a plan direction."""
        self.meshes.append(mesh.placed(self.plan.place(uv, direction, up)))

    def park(
        self, asset: Asset, uv: Array, direction: Array, up: float = KERB_M + 0.04, turn: float = 0
    ) -> None:
        """A thing with a box."""
        self.boxed.append((asset, self.plan.place(uv, direction, up, turn)))


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a block: ``at(along, depth)`` gives plan points, depth from the kerb inwards."""

    corner: Array
    direction: Array
    inward: Array
    length: float
    number: int

    def at(self, along: float, depth: float) -> Array:
        return np.asarray(self.corner + along * self.direction + depth * self.inward)

    @property
    def outward(self) -> Array:
        return -self.inward


def sides(plan: TownPlan, block: Block) -> Iterator[Side]:
    """The sides that face a street."""
    (u0, v0), (u1, v1) = block.low, block.high
    last_column, last_row = len(plan.across), len(plan.along)
    corners = [(u0, v0), (u1, v0), (u1, v1), (u0, v1)]
    faces = [block.row > 0, block.column < last_column, block.row < last_row, block.column > 0]
    for k in range(4):
        if faces[k]:
            start, end = np.array(corners[k]), np.array(corners[(k + 1) % 4])
            length = float(np.linalg.norm(end - start))
            direction = (end - start) / length
            inward = np.array([-direction[1], direction[0]])
            yield Side(start, direction, inward, length, k)


def fill_block(site: Site, block: Block, kind: str, near: Array) -> None:
    """Put up everything of a block that is close to the route's plan points (P, 2)."""
    ground = GROUND[kind]
    edge = 0.17 + ground.verge_m + ground.sidewalk_m
    fillers = {"downtown": _downtown, "homes": _homes, "site": _works, "park": _park, "yard": _yard}
    for side in sides(site.plan, block):
        spans = _near_spans(side, near)
        if spans is None:
            continue
        low, high = max(spans[0], CORNER_RADIUS_M), min(spans[1], side.length - CORNER_RADIUS_M)
        _pavement(site, side, ground, low, high)
        clear = 17.0 if side.number % 2 else 1.5  # corner lots belong to the even sides
        low, high = max(low, edge + clear), min(high, side.length - edge - clear)
        if high - low > 6:
            fillers[kind](site, side, low, high, edge)


def _near_spans(side: Side, near: Array, reach: float = 75.0) -> tuple[float, float] | None:
    """The stretch of a side within reach of the route."""
    along = (near - side.corner) @ side.direction
    across = np.abs((near - side.corner) @ side.inward)
    close = across < reach
    if not close.any():
        return None
    low, high = along[close].min() - reach, along[close].max() + reach
    return (low, high) if high > 0 and low < side.length else None


def _pavement(site: Site, side: Side, ground: BlockGround, low: float, high: float) -> None:
    """Lamps, signs, trees, bins between kerb and houses."""
    studio, stock = site.studio, site.stock
    for along in np.arange(low + 4, high, 24.0):
        site.put(stock.lamp, side.at(along, 0.6), side.outward)
    for along in np.arange(low + 9, high, studio.uniform(8, 13)):
        if ground.verge_m or studio.chance(0.55):
            site.put(
                studio.pick(stock.trees), side.at(along + studio.uniform(-1, 1), 0.95), side.outward
            )
    if low < CORNER_RADIUS_M + 2:  # who drives past has the block on the right, and arrives here
        maker = street.traffic_light if studio.chance(0.5) else street.sign_post
        site.put(maker(studio), side.at(CORNER_RADIUS_M + 0.4, 0.55), side.direction)
    along = low + studio.uniform(5, 15)
    while along < high:
        choice = studio.rng.random()
        spot = side.at(along, 0.17 + ground.verge_m + ground.sidewalk_m - 0.5)
        if choice < 0.4:
            site.park(
                studio.pick(stock.clutter), spot, side.outward, turn=studio.uniform(-0.4, 0.4)
            )
        elif choice < 0.55:
            site.put(street.bench(studio), spot, side.outward)
        elif choice < 0.65:
            site.put(street.shelter(studio), side.at(along, 1.6), side.outward)
        elif choice < 0.8:
            site.put(street.sign_post(studio), side.at(along, 0.5), side.direction)
        elif choice < 0.9:
            site.park(studio.pick(stock.cycles), spot, side.direction)
        else:
            for k in range(4):
                site.put(street.bollard(studio), side.at(along + 1.4 * k, 0.45), side.outward)
        along += studio.uniform(9, 20)


def _downtown(site: Site, side: Side, low: float, high: float, edge: float) -> None:
    studio, along = site.studio, low
    while high - along > 8:
        width = min(studio.uniform(11, 24), high - along)
        if studio.chance(0.93):
            mesh = buildings.town_house(studio, width - 0.15, studio.uniform(10, 14))
            site.put(mesh, side.at(along + width / 2, edge + 0.1), side.outward)
        along += width


def _homes(site: Site, side: Side, low: float, high: float, edge: float) -> None:
    studio, stock, along = site.studio, site.stock, low
    while high - along > 9:
        lot = min(studio.uniform(13, 19), high - along)
        middle, back = along + lot / 2, edge + studio.uniform(4.0, 6.5)
        drive = 3.2
        wide = min(studio.uniform(8, 11), lot - drive - 1.0)
        mesh = buildings.house(studio, wide, studio.uniform(8, 10))
        site.put(mesh, side.at(middle + drive / 2, back), side.outward, KERB_M + 0.15)
        length = lot - drive - 0.6
        border = plants.hedge if studio.chance(0.45) else street.fence
        if studio.chance(0.8):
            site.put(border(studio, length), side.at(along + drive, edge + 0.55), side.direction)
        if studio.chance(0.6):
            site.park(
                studio.pick(stock.cars),
                side.at(along + 1.5, edge + 4.2),
                side.outward,
                KERB_M + 0.1,
            )
        for _ in range(int(studio.rng.integers(1, 4))):
            spot = side.at(
                along + studio.uniform(drive + 1, lot - 1), edge + studio.uniform(1.5, 3)
            )
            site.put(studio.pick(stock.bushes), spot, side.outward)
        if studio.chance(0.5):
            spot = side.at(along + lot - 1.5, edge + studio.uniform(2.5, 9))
            site.put(studio.pick(stock.trees + stock.conifers), spot, side.outward)
        along += lot


def _park(site: Site, side: Side, low: float, high: float, edge: float) -> None:
    studio, stock = site.studio, site.stock
    for _ in range(int((high - low) * 0.35)):
        spot = side.at(studio.uniform(low, high), edge + 1 + abs(studio.rng.normal(0, 11)))
        pool = studio.pick((stock.trees, stock.trees, stock.conifers, stock.bushes))
        mesh = studio.pick(pool)
        site.put(mesh, spot, side.outward, KERB_M + 0.25)
    if studio.chance(0.6):
        site.put(
            plants.hedge(studio, min(high - low, 30)), side.at(low, edge + 0.6), side.direction
        )


def _works(site: Site, side: Side, low: float, high: float, edge: float) -> None:
    studio, stock = site.studio, site.stock
    element = studio.pick(stock.barriers)
    pitch = element.size_m[0 if element.size_m[0] > element.size_m[1] else 1] + 0.25
    for along in np.arange(low, high, pitch):
        if studio.chance(0.92):
            site.park(element, side.at(along, edge + 0.4), side.direction)
    for along in np.arange(low + 6, high - 4, 13.0):
        asset = studio.pick(stock.machines if studio.chance(0.7) else stock.trailers)
        site.park(
            asset,
            side.at(along, edge + studio.uniform(5, 9)),
            side.direction,
            turn=studio.uniform(-0.6, 0.6),
        )
    soil = site.studio.builder("terrain")
    gravel = studio.material(Texture.GRAVEL, studio.colour("soil"))
    for along in np.arange(low + 10, high, 21.0):
        soil.blob((0, 0, 0.2), (2.6, 2.2, studio.uniform(1.0, 1.9)), gravel, studio.rng, 0.12, 3)
        site.put(soil.build(), side.at(along, edge + studio.uniform(11, 16)), side.direction)
        soil = MeshBuilder(studio.classes.id_of("terrain"))
    for along in np.arange(low, high, 3.0):
        if studio.chance(0.5):
            site.park(studio.pick(stock.cones), side.at(along, edge - 0.5), side.direction)
    mesh = buildings.hall(studio, 14, 8)
    site.put(mesh, side.at((low + high) / 2, edge + 20), side.outward)


def _yard(site: Site, side: Side, low: float, high: float, edge: float) -> None:
    studio, stock = site.studio, site.stock
    site.put(
        buildings.hall(studio, min(high - low, 30) * 0.9, 16),
        side.at((low + high) / 2, edge + 22),
        side.outward,
    )
    along = low + 2
    while along < high - 4:
        pool = studio.pick((stock.trailers, stock.trailers, stock.trucks, stock.buses))
        site.park(
            studio.pick(pool),
            side.at(along, edge + 9.5),
            side.outward,
            turn=studio.uniform(-0.08, 0.08) + (np.pi if studio.chance(0.4) else 0),
        )
        along += studio.uniform(4.2, 7.5)
    for along in np.arange(low, high - 8, 9.0):
        if studio.chance(0.6):
            site.put(street.fence(studio, 8.0), side.at(along, edge + 0.4), side.direction)

"""Triangles with classes and materials, and the shapes that everything in a town is made of.

Frames: every asset is built in its own frame, x forward, y left, z up, origin on the ground.
Notation: P points, F faces, N points of a ring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_simulation.icosphere import icosphere

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles between points.

    Attributes:
        points: (P, 3) float32, metres.
        faces: (F, 3) int32: the points that are the corners of each face.
        texture: (F, 3, 3) float32: texture coordinates of the corners; their meaning is the
            material's (by default the position in the asset's own frame, metres).
        class_id: (F,) uint8.
        material: (F,) uint16, row of the material table.
    """

    points: Float32
    faces: NDArray[np.int32]
    texture: Float32
    class_id: NDArray[np.uint8]
    material: NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def vertices(self) -> Float32:
        """(F, 3, 3) the corners of each face, metres."""
        return self.points[self.faces]

    def placed(self, target_from_mesh: RigidTransform) -> Mesh:
        """The same triangles in another frame; textures stay with the asset."""
        rotation = target_from_mesh.rotation.astype(np.float32)
        moved = self.points @ rotation.T + target_from_mesh.translation.astype(np.float32)
        return replace(self, points=moved)

    def scaled(self, factor: float) -> Mesh:
        """The same triangles, larger or smaller about the origin."""
        return replace(self, points=self.points * np.float32(factor))

    @property
    def bounds_m(self) -> tuple[Float32, Float32]:
        """Minimum and maximum corner, each (3,) metres."""
        return self.points.min(axis=0), self.points.max(axis=0)

    @staticmethod
    def empty() -> Mesh:
        """No triangle at all."""
        return Mesh(
            np.zeros((0, 3), np.float32),
            np.zeros((0, 3), np.int32),
            np.zeros((0, 3, 3), np.float32),
            np.zeros(0, np.uint8),
            np.zeros(0, np.uint16),
        )

    @staticmethod
    def joined(parts: Iterable[Mesh]) -> Mesh:
        """All triangles of several meshes of one frame."""
        meshes = [part for part in parts if len(part)]
        if not meshes:
            return Mesh.empty()
        counts = [len(part.points) for part in meshes]
        first = np.cumsum([0, *counts[:-1]], dtype=np.int32)
        faces = np.concatenate([part.faces for part in meshes])
        faces += np.repeat(first, [len(part) for part in meshes])[:, None]
        return Mesh(
            np.concatenate([part.points for part in meshes]),
            faces,
            np.concatenate([part.texture for part in meshes]),
            np.concatenate([part.class_id for part in meshes]),
            np.concatenate([part.material for part in meshes]),
        )


class MeshBuilder:
    """Collects shapes of one class; ``build`` gives the mesh."""

    def __init__(self, class_id: int) -> None:
        self._class_id = class_id
        self._parts: list[Mesh] = []

    def build(self) -> Mesh:
        """Everything added so far."""
        return Mesh.joined(self._parts)

    def add(self, mesh: Mesh, target_from_mesh: RigidTransform | None = None) -> None:
        """Another asset, with the classes it brings."""
        self._parts.append(mesh if target_from_mesh is None else mesh.placed(target_from_mesh))

    def triangles(
        self, vertices: ArrayLike, material: int, texture: ArrayLike | None = None
    ) -> None:
        """Faces (F, 3, 3) of one material; texture coordinates are the positions if not given."""
        points = np.asarray(vertices, dtype=np.float32).reshape(-1, 3)
        faces = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
        self._between(points, faces, material, texture)

    def _between(
        self,
        points: Float32,
        faces: NDArray[np.int32],
        material: int | NDArray[np.uint16],
        texture: ArrayLike | None = None,
    ) -> None:
        coordinates = points[faces] if texture is None else np.asarray(texture, np.float32)
        count = len(faces)
        self._parts.append(
            Mesh(
                points,
                faces,
                coordinates.reshape(-1, 3, 3),
                np.full(count, self._class_id, np.uint8),
                np.full(count, material, np.uint16),
            )
        )

    def quads(self, corners: ArrayLike, material: int, texture: ArrayLike | None = None) -> None:
        """Quads (..., 4, 3), corners in order around each."""
        points = np.asarray(corners, dtype=np.float32).reshape(-1, 3)
        faces = _halves(np.arange(len(points), dtype=np.int32))
        if texture is not None:
            texture = np.asarray(texture, np.float32).reshape(-1, 3)[faces]
        self._between(points, faces, material, texture)

    def box(
        self,
        centre: ArrayLike,
        size: ArrayLike,
        material: int,
        top: tuple[float, float] = (1.0, 1.0),
        shift: float = 0.0,
        yaw_rad: float = 0.0,
    ) -> None:
        """A box; ``top`` scales its upper face along x and y, ``shift`` moves that along x."""
        x, y, z = (np.asarray(size, dtype=np.float64) / 2).tolist()
        ring = np.array([(x, y), (-x, y), (-x, -y), (x, -y)])
        upper = ring * top + (shift, 0.0)
        low = np.column_stack([ring, np.full(4, -z)])
        high = np.column_stack([upper, np.full(4, z)])
        turn = _turn_z(yaw_rad)
        place = np.asarray(centre, dtype=np.float64)
        self.loft([low @ turn.T + place, high @ turn.T + place], material)

    def loft(
        self,
        rings: Sequence[ArrayLike],
        material: int,
        caps: bool = True,
        cap_material: int | None = None,
    ) -> None:
        """The skin through rings (N, 3) of equal N, with fans over the two ends."""
        stack = np.asarray(rings, dtype=np.float32)
        count, size = stack.shape[:2]
        points, faces = stack.reshape(-1, 3), _skin(count, size, caps)
        if not caps:
            self._between(points, faces, material)
            return
        middles = stack[[0, -1]].sum(axis=1) / size
        materials = np.full(len(faces), material, np.uint16)
        if cap_material is not None:
            materials[-2 * size :] = cap_material
        self._between(np.concatenate([points, middles]), faces, materials)

    def fan(self, ring: ArrayLike, material: int) -> None:
        """A star-shaped polygon (N, 3), filled from its middle."""
        edge = np.asarray(ring, dtype=np.float32)
        points = np.concatenate([edge, edge.mean(axis=0, keepdims=True)])
        self._between(points, _star(0, len(edge), len(edge)), material)

    def profile(
        self,
        outline: ArrayLike,
        width: float,
        material: int,
        y: float = 0.0,
        cap_material: int | None = None,
        inset: float = 1.0,
    ) -> None:
        """An outline (N, 2) of x and z, star-shaped about its mean, extruded along y."""
        points = np.asarray(outline, dtype=np.float64)
        sides = []
        for side in (-0.5, 0.5):
            across = np.full(len(points), y + side * width * inset)
            sides.append(np.column_stack([points[:, 0], across, points[:, 1]]))
        self.loft(sides, material, cap_material=cap_material)

    def tube(
        self,
        start: ArrayLike,
        end: ArrayLike,
        radius: float,
        material: int,
        end_radius: float | None = None,
        sides: int = 8,
        caps: bool = True,
        cap_material: int | None = None,
    ) -> None:
        """A cylinder or truncated cone between two points."""
        a, b = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        axis = (b - a) / max(float(np.linalg.norm(b - a)), 1e-9)
        helper = np.eye(3)[int(np.argmin(np.abs(axis)))]
        first = cross(axis, helper)
        first /= np.linalg.norm(first)
        second = cross(axis, first)
        cosine, sine = _circle(sides)
        circle = cosine * first + sine * second
        last = radius if end_radius is None else end_radius
        self.loft([a + radius * circle, b + last * circle], material, caps, cap_material)

    def blob(
        self,
        centre: ArrayLike,
        radii: ArrayLike,
        material: int,
        rng: np.random.Generator | None = None,
        roughness: float = 0.0,
        level: int = 1,
    ) -> None:
        """An ellipsoid; with ``roughness`` its surface goes in and out by that share."""
        points, faces = icosphere(level)
        swell = np.ones(len(points))
        if rng is not None and roughness > 0:
            for _ in range(8):  # a few plane waves make lumps of several sizes
                wave = rng.normal(size=3) * rng.uniform(1.5, 5.0)
                swell += roughness / 3 * np.sin(points @ wave + rng.uniform(0, 2 * np.pi))
        shaped = points * swell[:, None] * np.asarray(radii) + np.asarray(centre)
        self._between(shaped.astype(np.float32), faces, material)

    def leaves(
        self,
        centres: ArrayLike,
        size: float,
        material: int,
        rng: np.random.Generator,
    ) -> None:
        """One random triangle about each centre (F, 3)."""
        middle = np.asarray(centres, dtype=np.float32)
        offsets = rng.normal(size=(len(middle), 3, 3)) * (size / 2)
        offsets -= offsets.mean(axis=1, keepdims=True)
        self.triangles(middle[:, None] + offsets, material)


def cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """``np.cross`` of two vectors (3,), without its overhead."""
    (x, y, z), (p, q, r) = a.tolist(), b.tolist()
    return np.array([y * r - z * q, z * p - x * r, x * q - y * p])


@lru_cache(maxsize=64)
def _circle(sides: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosine and sine (sides, 1) of equal steps."""
    angle = np.arange(sides)[:, None] * (2 * np.pi / sides)
    return np.cos(angle), np.sin(angle)


def _halves(quads: NDArray[np.int32]) -> NDArray[np.int32]:
    """Corners (F, 3) of two triangles for each four corners (..., 4) around a quad."""
    return quads.reshape(-1, 4)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


@lru_cache(maxsize=256)
def _skin(rings: int, count: int, caps: bool) -> NDArray[np.int32]:
    """Corners (F, 3) of the triangles between rings of points, numbered ring by ring.

    With ``caps`` also of those from the first and last ring to the two points after all rings.
    """
    number = np.arange(rings * count, dtype=np.int32).reshape(rings, count)
    following = np.roll(number, -1, axis=1)
    skin = _halves(np.stack([number[:-1], following[:-1], following[1:], number[1:]], axis=2))
    if not caps:
        return skin
    last = number.size
    return np.concatenate([skin, _star(0, count, last), _star(last - count, count, last + 1)])


def _star(first: int, count: int, middle: int) -> NDArray[np.int32]:
    """Corners (F, 3) of the triangles from a ring's edges to its middle, both by point number."""
    ring = np.arange(first, first + count, dtype=np.int32)
    return np.stack([ring, np.roll(ring, -1), np.full_like(ring, middle)], axis=1)


def _turn_z(yaw_rad: float) -> NDArray[np.float64]:
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def standing(x: float, y: float, z: float, yaw_rad: float) -> RigidTransform:
    """``parent_from_asset`` of something upright at a place, turned about z."""
    return RigidTransform(_turn_z(yaw_rad), np.array([x, y, z]))

"""One ray caster for cameras, LiDAR and truth: Embree, through embreex.

The town that never moves is one Embree scene, built once; what moves is a small second one, built
anew for each instant. A ray is cast into both and the nearer surface wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore import EmbreeDevice
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray

from renderocc_simulation.mesh import Mesh

Float32 = NDArray[np.float32]

MISS = -1
LIFT_M = 2e-3  # secondary rays start so far off their surface


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays end.

    Attributes:
        range_m: (N,) float32 along the unit direction; infinite where nothing is met.
        face: (N,) int64 into the instant's surfaces, ``MISS`` where nothing is met.
        u, v: (N,) float32 barycentric: the point is (1-u-v)·a + u·b + v·c.
        normal: (N, 3) float32 unit, on the side that the ray comes from.
    """

    range_m: Float32
    face: NDArray[np.int64]
    u: Float32
    v: Float32
    normal: Float32

    @property
    def met(self) -> NDArray[np.bool_]:
        """(N,) whether a surface was met."""
        return np.asarray(self.face != MISS)


class StaticScene:
    """What never moves, ready for casting."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._device = EmbreeDevice()
        self._corners: tuple[NDArray[np.int32], NDArray[Any]] | None = None
        self.embree = self.build(mesh)
        self._corners = None  # so many are not worth their memory

    def build(self, mesh: Mesh) -> EmbreeScene | None:
        """An Embree scene of a mesh, or None of an empty one."""
        if not len(mesh):
            return None
        scene = EmbreeScene(self._device)
        # The binding takes out number by number, which costs least if they are Python's already.
        TriangleMesh(scene, mesh.points.astype(object), self._corners_of(mesh.faces))
        return scene

    def _corners_of(self, faces: NDArray[np.int32]) -> NDArray[Any]:
        """(F,) tuples of each face's corners; the last are kept, for what moves keeps its faces."""
        if self._corners is None or not np.array_equal(self._corners[0], faces):
            tuples = np.ascontiguousarray(faces).view("i4, i4, i4").ravel().astype(object)
            self._corners = faces, tuples
        return self._corners[1]


class Instant:
    """The world at one moment.

    ``rays`` counts what was cast, for the report of speed.
    """

    def __init__(self, static: StaticScene, moving: Mesh) -> None:
        self.rays = 0
        self._split = len(static.mesh)
        self.moving = moving
        self._meshes = (static.mesh, moving)
        pairs = ((static.embree, 0), (static.build(moving), self._split))
        self._scenes = [(scene, offset) for scene, offset in pairs if scene is not None]

    def cast(self, origins: ArrayLike, directions: NDArray[Any]) -> Hits:
        """The first surface along each ray.

        Args:
            origins: (N, 3) or (3,) world, metres.
            directions: (N, 3) unit vectors; NaN (a pixel outside a fisheye) meets nothing.
        """
        count = len(directions)
        towards = _writeable(directions, (count, 3))
        lost = np.isnan(towards[:, 0])
        towards[lost] = (0.0, 0.0, 1.0)
        start = _writeable(origins, (count, 3))
        reach = np.full(count, np.inf, np.float32)
        face = np.full(count, MISS, np.int64)
        u, v = np.zeros(count, np.float32), np.zeros(count, np.float32)
        normal = np.zeros((count, 3), np.float32)
        for scene, offset in self._scenes:
            far = np.minimum(reach, np.float32(1e30))
            rays, asked = np.arange(count), (start, towards, far)
            if offset:
                # Few rays meet what moves, and whether they do costs less to ask than where.
                rays = np.flatnonzero(scene.run(start, towards, dists=far, query="OCCLUDED") >= 0)
                asked = start[rays], towards[rays], far[rays]
            hits = scene.run(*asked, output=1)
            self.rays += count
            met = (hits["primID"] >= 0) & (hits["tfar"] < reach[rays])
            nearer = rays[met]
            reach[nearer] = hits["tfar"][met]
            face[nearer] = hits["primID"][met].astype(np.int64) + offset
            u[nearer], v[nearer] = hits["u"][met], hits["v"][met]
            normal[nearer] = hits["Ng"][met]
        reach[lost], face[lost] = np.inf, MISS
        length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
        along = np.einsum("ij,ij->i", normal, towards)
        normal *= (np.where(along > 0, -1, 1) / np.maximum(length, 1e-20))[:, None]
        return Hits(reach, face, u, v, normal)

    def blocked(
        self, origins: ArrayLike, directions: Float32, reach_m: ArrayLike
    ) -> NDArray[np.bool_]:
        """(N,) whether anything lies within ``reach_m`` along rays that start on a surface."""
        count = len(directions)
        towards = _writeable(directions, (count, 3))
        start = _writeable(origins, (count, 3))
        far = _writeable(reach_m, (count,))
        hidden = np.zeros(count, bool)
        free, asked = np.arange(count), (start, towards, far)
        for scene, offset in self._scenes:
            if offset:
                free = np.flatnonzero(~hidden)
                asked = start[free], towards[free], far[free]
            hidden[free] = scene.run(*asked, query="OCCLUDED") >= 0
            self.rays += len(free)
        return hidden

    def class_ids(self, hits: Hits, nothing: int) -> NDArray[np.uint8]:
        """(N,) class of each hit; ``nothing`` where none."""
        return self.gather("class_id", hits.face, nothing)

    def gather(self, name: str, face: NDArray[np.int64], fill: int = 0) -> NDArray[Any]:
        """An attribute of ``Mesh`` at faces (N,); ``fill`` where ``MISS``."""
        fixed, moving = (getattr(mesh, name) for mesh in self._meshes)
        result = np.full((len(face), *fixed.shape[1:]), fill, fixed.dtype)
        first, second = (face >= 0) & (face < self._split), face >= self._split
        result[first] = fixed[face[first]]
        result[second] = moving[face[second] - self._split]
        return result


def _writeable(values: ArrayLike, shape: tuple[int, ...]) -> Float32:
    """A contiguous copy, as Embree's binding wants it."""
    return np.array(np.broadcast_to(np.asarray(values, np.float32), shape), order="C")

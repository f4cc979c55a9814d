"""From hits to light: texture, sun and cast shadows, sky and what hides it, reflections, haze.

Points and directions are (N, 3), as the caster takes them. Colours are (3, N): numpy is slow where
its inner loop has three turns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderocc_simulation import textures
from renderocc_simulation.caster import LIFT_M, Hits, Instant
from renderocc_simulation.lighting import Light
from renderocc_simulation.materials import MaterialRows, Texture
from renderocc_simulation.patterns import PATTERNS, Spots

Float32 = NDArray[np.float32]

SHADOW_REACH_M = 150.0
OPENNESS_REACH_M = 7.0
GROUND_ALBEDO = 0.22


class Shader:
    """Shades the surfaces of a town in one light."""

    def __init__(self, materials: MaterialRows, light: Light) -> None:
        self._materials = materials
        self._light = light
        sky = (0.55 * light.zenith + 0.45 * light.horizon)[:, None]
        # Below overcast or broken cloud the sky's own light is whiter and stronger.
        self._sky = sky * (1.0 + 0.35 * light.clouds)
        self._sun = light.sun[:, None]
        lit = np.maximum(light.towards_sun[2], 0) * self._sun + self._sky
        self._bounce = (GROUND_ALBEDO * lit).astype(np.float32)

    def radiance(
        self,
        instant: Instant,
        origin: Float32,
        directions: Float32,
        hits: Hits,
        openness: Float32,
        pixel_rad: float,
        rng: np.random.Generator,
    ) -> Float32:
        """Light (N, 3) that comes along rays.

        Args:
            origin: (3,) world, metres.
            directions: (N, 3) unit vectors.
            openness: (N,) share of the sky that each surface sees, of ``openness``.
            pixel_rad: angle that one pixel covers.
            rng: for the soft edges of shadows.
        """
        result = np.empty((len(directions), 3), np.float32)
        result[~hits.met] = self.sky(directions[~hits.met]).T
        met = np.flatnonzero(hits.met)
        if not len(met):
            return result
        ray, normal = directions[met], hits.normal[met]
        reach = hits.range_m[met]
        points = origin + ray * reach[:, None]
        row = instant.gather("material", hits.face[met]).astype(np.int64)
        self._ruffle(normal, points, row)
        cosine = np.abs(np.einsum("ij,ij->i", ray, normal))
        foot = (reach * pixel_rad / np.sqrt(np.maximum(cosine, 0.02))).astype(np.float32)
        albedo, gloss, emission = self._look(instant, hits, met, row, foot)
        ambient = self._ambient(normal, openness[met])
        sun = self._sunlight(instant, points, normal, rng)
        light = albedo * (ambient + sun * self._sun)
        light += self._reflection(ray, normal, cosine, gloss, sun, openness[met])
        light += (emission * self._light.lamps) * np.minimum(albedo * 1.8 + 0.02, 1.0)
        through = np.exp(-reach / self._light.haze_m)
        haze = 0.85 * self._light.horizon[:, None]
        result[met] = (light * through + haze * (1 - through)).T
        return result

    def openness(
        self, instant: Instant, points: Float32, normal: Float32, sample: Float32
    ) -> NDArray[np.bool_]:
        """(N,) whether one ray off each surface gets away (cosine-weighted about the normal).

        Args:
            sample: (N, 2) numbers of 0 to 1 that choose the ray.
        """
        angle, lift = 2 * np.pi * sample[:, 0], np.sqrt(1 - sample[:, 1])
        out = np.sqrt(sample[:, 1])
        upright = np.ascontiguousarray(normal.T)
        flat = np.abs(upright[2]) < 0.9
        helper = np.zeros_like(upright)
        helper[0], helper[2] = ~flat, flat
        first = _cross(helper, upright)
        first /= _length(first)
        second = _cross(upright, first)
        towards = out * np.cos(angle) * first + out * np.sin(angle) * second + lift * upright
        return ~instant.blocked(points + normal * LIFT_M, towards.T, OPENNESS_REACH_M)

    def sky(self, directions: Float32, clouds: float = 1.0) -> Float32:
        """Radiance (3, N) of the sky: gradient, clouds (their share), the sun and its glow."""
        light = self._light
        zenith, horizon = light.zenith[:, None], light.horizon[:, None]
        up = np.clip(directions[:, 2], 0.0, 1.0)
        clear = horizon + (zenith - horizon) * up**0.45
        towards = np.clip(directions @ light.towards_sun, 0, 1)
        glow = 0.10 * towards**6 + 0.35 * towards**48
        if light.name != "overcast":
            glow = glow + 6.0 * (towards > np.cos(0.014))
        veil = np.ascontiguousarray(directions.T[:2]) / (up + 0.18) * 100
        near = np.zeros(len(directions), np.float32)
        noise = 0.65 * textures.fractal()(veil, 620.0, near) + 0.35 * textures.fractal()(
            veil, 170.0, near
        )
        edge = 0.68 - 0.36 * light.clouds
        cover = np.clip((noise - edge) * 5.0, 0, 1) * np.clip(up * 8, 0, 1) * clouds
        white = 0.62 * self._sun + 0.55 * (zenith + horizon)
        shade = white * (1.1 - 0.55 * np.clip((noise - edge) * 2.2, 0, 1))
        result = clear * (1 - cover * 0.9) + shade * cover * 0.9
        glow = glow * self._sun * (1 - 0.7 * light.clouds)
        return np.asarray(result + glow, np.float32)

    def _ruffle(self, normal: Float32, points: Float32, row: NDArray[np.int64]) -> None:
        """Turn the normals of foliage this way and that, as leaves do."""
        here = np.flatnonzero(self._materials.texture[row] == Texture.LEAVES)
        if not len(here):
            return
        spot = points[here].T
        near = np.zeros(len(here), np.float32)
        noise = [
            textures.streaks()(spot[pair] + 3.1 * k, 7.0, near) - 0.5
            for k, pair in enumerate(([0, 1], [1, 2], [2, 0]))
        ]
        turned = normal[here] + 2.2 * np.stack(noise, axis=1)
        normal[here] = turned / np.linalg.norm(turned, axis=1, keepdims=True)

    def _look(
        self,
        instant: Instant,
        hits: Hits,
        met: NDArray[np.int64],
        row: NDArray[np.int64],
        foot: Float32,
    ) -> tuple[Float32, Float32, Float32]:
        """Albedo (3, N), gloss and emission (N,)."""
        a, b, c = np.moveaxis(instant.gather("texture", hits.face[met]), 0, 2).copy()
        u, v = hits.u[met], hits.v[met]
        at = a * (1 - u - v) + b * u + c * v
        on = _flattened(at, _cross(b - a, c - a))
        table = self._materials
        albedo = np.empty_like(at)
        gloss, emission = table.gloss[row], table.emission[row]
        kinds = table.texture[row]
        for kind in np.flatnonzero(np.bincount(kinds)):
            here = np.flatnonzero(kinds == kind)
            rows = row[here]
            spots = Spots(
                at.take(here, axis=1),
                on.take(here, axis=1),
                foot[here],
                table.colour.T.take(rows, axis=1),
                table.second.T.take(rows, axis=1),
                table.scale[rows],
                table.options.T.take(rows, axis=1),
            )
            look = PATTERNS[Texture(kind)](spots)
            albedo[:, here] = look.albedo
            if look.gloss is not None:
                gloss[here] = look.gloss
            if look.emission is not None:
                own = emission[here]
                emission[here] = np.where(own > 0, own * look.emission, look.emission * (kind == 6))
        return np.clip(albedo, 0.0, 0.95), gloss, emission

    def _ambient(self, normal: Float32, openness: Float32) -> Float32:
        up = (0.5 + 0.5 * normal[:, 2]).astype(np.float32)
        mixed = up * self._sky + (1 - up) * self._bounce
        open_share = 0.18 + 0.82 * openness
        # What hides the sky gives some light back.
        hidden = 0.25 * self._bounce * (1 - open_share)
        return np.asarray(mixed * open_share + hidden, np.float32)

    def _sunlight(
        self, instant: Instant, points: Float32, normal: Float32, rng: np.random.Generator
    ) -> Float32:
        """(N,) cosine of the sun's angle, zero in shadow."""
        light = self._light
        facing = np.maximum(normal @ light.towards_sun, 0.0)
        lit = np.flatnonzero(facing > 0)
        jitter = rng.normal(0, light.softness_rad, (len(lit), 3)).astype(np.float32)
        towards = np.ascontiguousarray(jitter.T) + light.towards_sun[:, None]
        towards /= _length(towards)
        start = points[lit] + normal[lit] * (5 * LIFT_M)
        facing[lit[instant.blocked(start, towards.T, SHADOW_REACH_M)]] = 0.0
        return facing.astype(np.float32)

    def _reflection(
        self,
        ray: Float32,
        normal: Float32,
        cosine: Float32,
        gloss: Float32,
        sun: Float32,
        openness: Float32,
    ) -> Float32:
        result = np.zeros(ray.shape[::-1], np.float32)
        shiny = np.flatnonzero(gloss > 0.01)
        if not len(shiny):
            return result
        mirrored = ray[shiny] + 2 * (cosine[shiny, None] * normal[shiny])
        fresnel = gloss[shiny] * (0.10 + 0.90 * (1 - np.minimum(cosine[shiny], 1.0)) ** 4)
        seen = self.sky(mirrored, clouds=0.4)
        # Low rays meet the town, not the sky.
        clear = np.clip((mirrored[:, 2] - 0.02) * 4.0, 0, 1) * (0.4 + 0.6 * openness[shiny])
        seen = seen * clear + 0.9 * self._bounce * (1 - clear)
        glint = np.clip(mirrored @ self._light.towards_sun, 0, 1) ** 180 * (sun[shiny] > 0)
        seen = np.minimum(seen, 3.0) + 5.0 * glint * self._sun
        result[:, shiny] = seen * fresnel
        return result


def _cross(a: Float32, b: Float32) -> Float32:
    return np.stack([a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))])


def _length(vectors: Float32) -> Float32:
    return np.asarray(np.sqrt(np.einsum("in,in->n", vectors, vectors)))


def _flattened(at: Float32, normal: Float32) -> Float32:
    """Metres on the surface (2, N): the two axes that face it best, the upright one second."""
    axis = np.abs(normal).argmax(axis=0)
    return np.stack([np.where(axis == 0, at[1], at[0]), np.where(axis == 2, at[1], at[2])])

"""Volume rendering of rays through a voxel field, sample by sample from the eye outwards.

    w_s = T_s (1 − exp(−τ_s)),  τ_s = σ_s δ_s,  T_s = exp(−Σ_{i<s} τ_i)
    range = Σ w_s t_s + (1 − Σ w_s) t_far,  opacity = Σ w_s,  classes = Σ w_s c_s

(Max 1995, eq. 4; NeRF, Mildenhall et al. 2020, eq. 3.) Density σ and classes c of a sample are
those of its cell, or of the eight cells around it (trilinear). A program takes a block of rays and
keeps their sums in registers; of single samples it stores the weights alone, which are a result.

Backward, with G_s = ∂L/∂w_s and L_s = T_s exp(−τ_s) the light behind sample s:

    ∂L/∂σ_s = δ_s (G_s L_s − Σ_{i>s} G_i w_i),  ∂L/∂c_s = w_s ∂L/∂classes

from the far end inwards, with L_s = L_S + Σ_{i>s} w_i: sums of what lies behind, no difference, so
that the gradient keeps its digits behind opaque samples. Cells are looked up again, and their
gradients added atomically: the order varies, and so do the last digits.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def along_axis(position, UPPER: tl.constexpr, SIZE: tl.constexpr, EIGHT: tl.constexpr):
    """Index (int64) of the cell that a position draws on, in cells, and its share."""
    share = tl.zeros_like(position) + 1
    if EIGHT:
        lower = tl.floor(position - 0.5)
        share = position - 0.5 - lower
        if UPPER == 0:
            share = 1 - share
        position = lower + UPPER
    return tl.minimum(tl.maximum(position, 0), SIZE - 1).to(tl.int64), share


@triton.jit
def corner_of(
    x, y, z, CORNER: tl.constexpr,
    X: tl.constexpr, Y: tl.constexpr, Z: tl.constexpr, EIGHT: tl.constexpr,
):  # fmt: skip
    """Flat index (int64) in the volume and share of one of the cells around points."""
    i, of_x = along_axis(x, CORNER // 4, X, EIGHT)
    j, of_y = along_axis(y, CORNER // 2 % 2, Y, EIGHT)
    k, of_z = along_axis(z, CORNER % 2, Z, EIGHT)
    return (i * Y + j) * Z + k, of_x * of_y * of_z


@triton.jit
def point_of(origin, direction, ray, exists, t):
    """Where points at distances t lie, in cells."""
    origin, direction = origin + ray * 3, direction + ray * 3
    x = tl.load(origin, exists, 0.0) + t * tl.load(direction, exists, 0.0)
    y = tl.load(origin + 1, exists, 0.0) + t * tl.load(direction + 1, exists, 0.0)
    z = tl.load(origin + 2, exists, 0.0) + t * tl.load(direction + 2, exists, 0.0)
    return x, y, z


@triton.jit
def opacity_of(optical_depth):
    """1 − exp(−τ) with all its digits: for small τ by its series, whose rest is below 2e-11."""
    t = tl.minimum(optical_depth, 0.125)
    series = 1 - t / 5 * (1 - t / 6 * (1 - t / 7))
    series = t * (1 - t / 2 * (1 - t / 3 * (1 - t / 4 * series)))
    return tl.where(optical_depth < 0.125, series, 1 - tl.exp(-optical_depth))


@triton.jit
def render_kernel(
    density, classes, origin, direction, first_cell, starts, ends, far, count,
    weights, range_m, opacity, light, sums,
    R, S, starts_r, starts_s, ends_r, ends_s,
    K: tl.constexpr, X: tl.constexpr, Y: tl.constexpr, Z: tl.constexpr, EIGHT: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A program: BLOCK_R rays."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    real, k = ray < R, tl.arange(0, BLOCK_K)
    far_m = tl.load(far + ray, real, 0.0)
    first, steps = tl.load(first_cell + ray, real, 0), tl.load(count + ray, real, 0)
    depth, seen, reach = tl.zeros_like(far_m), tl.zeros_like(far_m), tl.zeros_like(far_m)
    total = tl.zeros([BLOCK_R, BLOCK_K], far_m.dtype)
    for s in range(0, tl.max(steps, axis=0)):
        exists = s < steps
        start = tl.load(starts + ray * starts_r + s * starts_s, exists, 0.0)
        end = tl.load(ends + ray * ends_r + s * ends_s, exists, 0.0)
        t = 0.5 * (start + end)
        x, y, z = point_of(origin, direction, ray, exists, t)
        sigma = tl.zeros_like(t)
        for corner in tl.static_range(8 if EIGHT else 1):
            cell, share = corner_of(x, y, z, corner, X, Y, Z, EIGHT)
            sigma += share * tl.load(density + first + cell, exists, 0.0).to(t.dtype)
        tau = sigma * (end - start)
        weight = tl.exp(-depth) * opacity_of(tau)
        tl.store(weights + ray * S + s, weight, exists)
        depth, seen, reach = depth + tau, seen + weight, reach + weight * t
        met = (exists & (weight > 0))[:, None] & (k < K)[None, :]
        for corner in tl.static_range(8 if EIGHT else 1):
            cell, share = corner_of(x, y, z, corner, X, Y, Z, EIGHT)
            each = tl.load(classes + (first + cell)[:, None] * K + k[None, :], met, 0.0)
            total += (weight * share)[:, None] * each.to(t.dtype)
    tl.store(range_m + ray, reach + (1 - seen) * far_m, real)
    tl.store(opacity + ray, seen, real)
    tl.store(light + ray, tl.exp(-depth), real)
    tl.store(sums + ray[:, None] * K + k[None, :], total, real[:, None] & (k < K)[None, :])


@triton.jit
def render_gradient_kernel(
    classes, origin, direction, first_cell, starts, ends, far, count, weights, light,
    of_weights, of_range, of_opacity, of_sums, of_density, of_classes,
    R, S, starts_r, starts_s, ends_r, ends_s,
    K: tl.constexpr, X: tl.constexpr, Y: tl.constexpr, Z: tl.constexpr, EIGHT: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """A program: BLOCK_R rays. ``of_…`` of results come in, of fields are added to."""
    ray = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    real, k = ray < R, tl.arange(0, BLOCK_K)
    far_m = tl.load(far + ray, real, 0.0)
    first, steps = tl.load(first_cell + ray, real, 0), tl.load(count + ray, real, 0)
    per_range = tl.load(of_range + ray, real, 0.0)
    per_opacity = tl.load(of_opacity + ray, real, 0.0)
    known = real[:, None] & (k < K)[None, :]
    per_class = tl.load(of_sums + ray[:, None] * K + k[None, :], known, 0.0)
    left, later = tl.load(light + ray, real, 0.0), tl.zeros_like(far_m)
    longest = tl.max(steps, axis=0)
    for back in range(0, longest):
        s = longest - 1 - back
        exists = s < steps
        start = tl.load(starts + ray * starts_r + s * starts_s, exists, 0.0)
        end = tl.load(ends + ray * ends_r + s * ends_s, exists, 0.0)
        t = 0.5 * (start + end)
        x, y, z = point_of(origin, direction, ray, exists, t)
        weight = tl.load(weights + ray * S + s, exists, 0.0)
        lit = exists & (left + weight > 0)
        slope = per_range * (t - far_m) + per_opacity
        slope += tl.load(of_weights + ray * S + s, exists, 0.0)
        for corner in tl.static_range(8 if EIGHT else 1):
            cell, share = corner_of(x, y, z, corner, X, Y, Z, EIGHT)
            place, both = (first + cell)[:, None] * K + k[None, :], lit[:, None] & known
            each = tl.load(classes + place, both, 0.0).to(t.dtype)
            slope += share * tl.sum(each * per_class, axis=1)
            tl.atomic_add(of_classes + place, (weight * share)[:, None] * per_class, both)
        behind = (end - start) * (slope * left - later)
        for corner in tl.static_range(8 if EIGHT else 1):
            cell, share = corner_of(x, y, z, corner, X, Y, Z, EIGHT)
            tl.atomic_add(of_density + first + cell, behind * share, lit)
        left, later = left + weight, later + slope * weight

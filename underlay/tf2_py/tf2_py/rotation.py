"""Quaternions (x, y, z, w) and vectors (x, y, z) as tuples of floats.

Transforms arrive one at a time, so plain floats are several times faster here than arrays.
"""

import math

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """The rotation that applies `b` first, then `a`."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def conjugate(q: Quaternion) -> Quaternion:
    """The inverse of a unit quaternion."""
    return (-q[0], -q[1], -q[2], q[3])


def rotate(q: Quaternion, v: Vector) -> Vector:
    """The vector `v` turned by the unit quaternion `q`: v + 2w(u x v) + 2u x (u x v)."""
    x, y, z, w = q
    vx, vy, vz = v
    tx = 2.0 * (y * vz - z * vy)
    ty = 2.0 * (z * vx - x * vz)
    tz = 2.0 * (x * vy - y * vx)
    return (
        vx + w * tx + y * tz - z * ty,
        vy + w * ty + z * tx - x * tz,
        vz + w * tz + x * ty - y * tx,
    )


def canonical(q: Quaternion) -> Quaternion:
    """`q` at unit length, of the two signs the one that a rotation matrix converts back to.

    That is w > 0 where |w| > 1/2, else a positive largest of x, y, z. A zero quaternion, which
    has no direction, gives NaN throughout.
    """
    norm = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    if norm == 0.0 or not math.isfinite(norm):
        return (math.nan,) * 4
    x, y, z, w = (component / norm for component in q)
    leading = w if abs(w) > 0.5 else max(x, y, z, key=abs)
    return (x, y, z, w) if leading >= 0.0 else (-x, -y, -z, -w)


def slerp(a: Quaternion, b: Quaternion, fraction: float) -> Quaternion:
    """Spherical linear interpolation along the shorter way: `a` at 0, `b` (or -b) at 1."""
    cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
    sign = -1.0 if cosine < 0.0 else 1.0
    angle = math.acos(min(1.0, abs(cosine)))
    if angle == 0.0:
        return a
    weight_a = math.sin((1.0 - fraction) * angle) / math.sin(angle)
    weight_b = sign * math.sin(fraction * angle) / math.sin(angle)
    x, y, z, w = (weight_a * p + weight_b * q for p, q in zip(a, b, strict=False))
    return (x, y, z, w)


def lerp(a: Vector, b: Vector, fraction: float) -> Vector:
    """Linear interpolation: `a` at 0, `b` at 1."""
    x, y, z = ((1.0 - fraction) * p + fraction * q for p, q in zip(a, b, strict=False))
    return (x, y, z)

"""Lengths and directions."""

from typing import Any

import numpy as np


def vector_norm(data: Any, axis: int | None = None, out: np.ndarray | None = None) -> Any:
    """Euclidean length: a float for one vector, else an array along `axis`, or written to `out`."""
    values = np.asarray(data, dtype=np.float64)
    if out is not None:
        np.sqrt(np.sum(values * values, axis=axis), out=out)
        return None
    if values.ndim == 1:
        return float(np.sqrt(values @ values))
    return np.atleast_1d(np.sqrt(np.sum(values * values, axis=axis)))


def unit_vector(data: Any, axis: int | None = None, out: np.ndarray | None = None) -> Any:
    """The data divided by its length along `axis` (of all of it without), or written to `out`."""
    values = np.array(data, dtype=np.float64)
    length = np.sqrt(np.sum(values * values, axis=axis, keepdims=True))
    if out is not None:
        np.divide(values, length, out=out)
        return None
    return values / length


def random_vector(size: Any) -> np.ndarray:
    """Random floats of [0, 1)."""
    return np.random.random(size)  # noqa: NPY002 (numpy.random.seed must count)

"""PointCloud2 messages as structured arrays, and back."""

import sys
from array import array
from collections import namedtuple
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured, unstructured_to_structured
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

DUMMY_FIELD_PREFIX = "unnamed_field"
_DTYPES = {
    PointField.INT8: np.dtype(np.int8),
    PointField.UINT8: np.dtype(np.uint8),
    PointField.INT16: np.dtype(np.int16),
    PointField.UINT16: np.dtype(np.uint16),
    PointField.INT32: np.dtype(np.int32),
    PointField.UINT32: np.dtype(np.uint32),
    PointField.FLOAT32: np.dtype(np.float32),
    PointField.FLOAT64: np.dtype(np.float64),
}


def dtype_from_fields(fields: Iterable[PointField], point_step: int | None = None) -> np.dtype:
    """The structured type of one point, `point_step` bytes long or as long as its fields reach.

    A field of count n becomes n fields ``name_0`` … ``name_(n-1)``; one without a name gets
    ``unnamed_field_`` and its position.
    """
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    for position, field in enumerate(fields):
        _require(field.count > 0, f"field '{field.name}' has count 0: give it at least 1")
        _require(
            field.datatype in _DTYPES, f"field '{field.name}': unknown datatype {field.datatype}"
        )
        dtype = _DTYPES[field.datatype]
        name = field.name or f"{DUMMY_FIELD_PREFIX}_{position}"
        for index in range(field.count):
            names.append(f"{name}_{index}" if field.count > 1 else name)
            formats.append(dtype.str)
            offsets.append(field.offset + index * dtype.itemsize)
    _require(len(set(names)) == len(names), f"Duplicate field names are not allowed: {names}")
    layout = {"names": names, "formats": formats, "offsets": offsets}
    if point_step is not None:
        layout["itemsize"] = point_step
    return np.dtype(layout)


def read_points(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """The points as a structured array of shape (N,), in native byte order.

    It shares memory with the message where the byte order is native and nothing is left out.

    field_names: the fields to keep, all by default.
    skip_nans: leave out points with a NaN in one of these fields; not done where is_dense is set.
    uvs: indices of the points to keep.
    reshape_organized_cloud: shape (width, height) where height > 1.
    """
    _require(isinstance(cloud, PointCloud2), f"expected a PointCloud2, got {type(cloud).__name__}")
    dtype = dtype_from_fields(cloud.fields, cloud.point_step)
    is_native = bool(cloud.is_bigendian) == (sys.byteorder == "big")
    stored = dtype if is_native else dtype.newbyteorder()
    points = np.ndarray((cloud.width * cloud.height,), stored, cloud.data)
    if field_names is not None:
        field_names = list(field_names)
        missing = [name for name in field_names if name not in dtype.names]
        _require(not missing, f"the cloud has no fields {missing}; it has {list(dtype.names)}")
        points = points[field_names]
    if not is_native:
        points = points.astype(points.dtype.newbyteorder("="))
    if skip_nans and not cloud.is_dense:
        points = points[_without_nan(points)]
    if uvs is not None:
        points = points[uvs if isinstance(uvs, np.ndarray) else np.fromiter(uvs, int)]
    if reshape_organized_cloud and cloud.height > 1:
        points = points.reshape(cloud.width, cloud.height)
    return points


def read_points_numpy(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
    reshape_organized_cloud: bool = False,
) -> np.ndarray:
    """The points as a plain array of shape (N, fields); these fields must be of one type."""
    kept = [f for f in cloud.fields if field_names is None or f.name in field_names]
    _require(
        len({field.datatype for field in kept}) <= 1,
        "All fields need to have the same datatype. Use `read_points()` otherwise.",
    )
    points = read_points(cloud, field_names, skip_nans, uvs, reshape_organized_cloud)
    return structured_to_unstructured(points)


def read_points_list(
    cloud: PointCloud2,
    field_names: Sequence[str] | None = None,
    skip_nans: bool = False,
    uvs: Iterable[int] | None = None,
) -> list[NamedTuple]:
    """The points as named tuples. Slow: read_points is for large clouds."""
    points = read_points(cloud, field_names, skip_nans, uvs)
    point_type: Any = namedtuple("Point", points.dtype.names)
    return [point_type._make(point) for point in points]


def create_cloud(
    header: Header,
    fields: Iterable[PointField],
    points: Iterable[Any],
    point_step: int | None = None,
) -> PointCloud2:
    """The message of `points`.

    points: a structured array of exactly ``dtype_from_fields(fields, point_step)`` (fast), a plain
        array (N, fields) where all fields are of one type, or any iterable of rows (slow). An
        array of one more dimension, (width, height), makes an organised cloud.
    """
    fields = list(fields)
    dtype = dtype_from_fields(fields, point_step)
    array_of_points = _structured(points, fields, dtype)
    _require(
        array_of_points.ndim <= 2, "Points can be organised in two dimensions (width, height) only"
    )
    width = array_of_points.shape[0]
    data = array("B")
    data.frombytes(memoryview(np.ascontiguousarray(array_of_points)).cast("B"))
    cloud = PointCloud2(
        header=header,
        height=array_of_points.shape[1] if array_of_points.ndim == 2 else 1,
        width=width,
        fields=fields,
        is_bigendian=sys.byteorder == "big",
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * width,
        is_dense=False,
    )
    cloud.data = data
    return cloud


def create_cloud_xyz32(header: Header, points: Iterable[Any]) -> PointCloud2:
    """The message of points (x, y, z), each a float32."""
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    return create_cloud(header, fields, points)


def _structured(points: Any, fields: list[PointField], dtype: np.dtype) -> np.ndarray:
    if not isinstance(points, np.ndarray):
        return np.array([tuple(point) for point in points], dtype)
    if points.dtype.names is None:
        _require(
            len({field.datatype for field in fields}) == 1,
            "All fields need to have the same datatype. Pass a structured NumPy array with "
            "multiple dtypes otherwise.",
        )
        return unstructured_to_structured(points, dtype=dtype)
    _require(
        points.dtype == dtype,
        f"the array's type {points.dtype} is not that of the fields, {dtype}: check order, names, "
        "types and padding",
    )
    return points


def _without_nan(points: np.ndarray) -> np.ndarray:
    keep = np.ones(len(points), dtype=bool)
    for name in points.dtype.names:
        keep &= ~np.isnan(points[name])
    return keep


def _require(condition: bool, message: str) -> None:
    """Upstream asserts, so callers may expect an AssertionError; here also under python -O."""
    if not condition:
        raise AssertionError(message)

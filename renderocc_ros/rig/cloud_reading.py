"""sensor_msgs/PointCloud2 as arrays; takes messages of rclpy and of recordings alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of sensor_msgs/PointField, from 1 on.
NUMPY_OF_POINT_FIELD = dict(enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"), start=1))


def points_of(cloud: Any) -> NDArray[np.void]:
    """A sensor_msgs/PointCloud2 as a structured array (N,) with the message's fields.

    Raises:
        ValueError: a field of a type or count that is no single number, rows that overlap, or too
            little data.
    """
    formats = []
    order = ">" if cloud.is_bigendian else "<"
    for entry in cloud.fields:
        kind = NUMPY_OF_POINT_FIELD.get(entry.datatype)
        if kind is None:
            raise ValueError(f"field '{entry.name}' has the unknown type {entry.datatype}")
        formats.append(order + kind if entry.count <= 1 else (order + kind, (entry.count,)))
    point = np.dtype(
        {
            "names": [entry.name for entry in cloud.fields],
            "formats": formats,
            "offsets": [entry.offset for entry in cloud.fields],
            "itemsize": cloud.point_step,
        }
    )
    if not cloud.height or not cloud.width:
        return np.zeros(0, point)
    data, row_bytes = np.asarray(cloud.data, dtype=np.uint8), cloud.point_step * cloud.width
    # Or a few bytes would be a header's four thousand million rows.
    if row_bytes < 1 or (cloud.height > 1 and cloud.row_step < row_bytes):
        raise ValueError(
            f"{cloud.width} points of point_step = {cloud.point_step} bytes do not fit into rows "
            f"of row_step = {cloud.row_step}"
        )
    needed = cloud.row_step * (cloud.height - 1) + row_bytes
    if data.size < needed:
        raise ValueError(f"the cloud holds {data.size} bytes where its header says {needed}")
    rows = [data[row * cloud.row_step :][:row_bytes].view(point) for row in range(cloud.height)]
    return np.concatenate(rows)


def finite_points(points: NDArray[np.void]) -> NDArray[np.void]:
    """The points of a structured array whose x, y and z are numbers.

    Raises:
        ValueError: no x, y, z.
    """
    names = points.dtype.names or ()
    lacking = [name for name in "xyz" if name not in names]
    if lacking:
        raise ValueError(f"the cloud has no field {', '.join(lacking)}: {', '.join(names)}")
    finite = np.isfinite(points["x"]) & np.isfinite(points["y"]) & np.isfinite(points["z"])
    return points if finite.all() else points[finite]

"""Point clouds as messages and as arrays."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

pytest.importorskip(
    "sensor_msgs_py", reason="needs sensor_msgs_py: ./run sets it up, or source a ROS 2"
)

from sensor_msgs.msg import PointCloud2, PointField
from sensor_msgs_py import point_cloud2
from std_msgs.msg import Header

HEADER = Header(frame_id="base_link")


def field(name: str, offset: int, datatype: int = PointField.FLOAT32, count: int = 1) -> PointField:
    return PointField(name=name, offset=offset, datatype=datatype, count=count)


XYZ = [field("x", 0), field("y", 4), field("z", 8)]
# As our own clouds: floats, a packed colour, small integers, and padding at the end.
VOXELS = [*XYZ, field("rgb", 12, PointField.UINT32), field("label", 16, PointField.UINT8),
          field("confidence", 17, PointField.UINT8)]  # fmt: skip


def packed(layout: str, points: list[tuple[float, ...]], fields: list[PointField]) -> PointCloud2:
    """A message laid out by hand."""
    cloud = PointCloud2(header=HEADER, height=1, width=len(points), fields=fields)
    cloud.is_bigendian = layout[0] == ">"
    cloud.point_step = struct.calcsize(layout)
    cloud.row_step = cloud.point_step * len(points)
    cloud.data = b"".join(struct.pack(layout, *point) for point in points)
    return cloud


def test_the_type_of_a_point_follows_its_fields() -> None:
    dtype = point_cloud2.dtype_from_fields(VOXELS, point_step=20)
    assert dtype.itemsize == 20
    assert dtype.names == ("x", "y", "z", "rgb", "label", "confidence")
    assert {
        n: (dtype.fields[n][0].str, dtype.fields[n][1]) for n in ("z", "rgb", "confidence")
    } == {
        "z": ("<f4", 8),
        "rgb": ("<u4", 12),
        "confidence": ("|u1", 17),
    }
    assert point_cloud2.dtype_from_fields(VOXELS).itemsize == 18


def test_fields_of_several_values_and_without_a_name() -> None:
    fields = [field("v", 0, PointField.INT16, 2), field("", 4, PointField.FLOAT64)]
    dtype = point_cloud2.dtype_from_fields(fields)
    assert dtype.names == ("v_0", "v_1", "unnamed_field_1")
    assert [dtype.fields[name][1] for name in dtype.names] == [0, 2, 4]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_message_laid_out_by_hand_is_read(order: str) -> None:
    points = [(1.0, -2.0, 3.5, 0xFF8000, 4, 200), (4.0, 5.0, -6.25, 1, 17, 0)]
    cloud = packed(f"{order}fffIBBxx", points, VOXELS)
    read = point_cloud2.read_points(cloud)
    assert [tuple(point) for point in read.tolist()] == points
    assert read["x"].dtype == np.float32
    cloud = packed(f"{order}fffIBBxx", points, VOXELS)  # some versions swap the message's own bytes
    some = point_cloud2.read_points(cloud, field_names=["label", "z"])
    assert [tuple(point) for point in some.tolist()] == [(4, 3.5), (17, -6.25)]


def test_a_structured_array_survives_the_way_there_and_back() -> None:
    dtype = point_cloud2.dtype_from_fields(VOXELS, point_step=20)
    points = np.zeros(1000, dtype)
    rng = np.random.default_rng(1)
    for name in "xyz":
        points[name] = rng.normal(size=1000)
    points["rgb"], points["label"] = rng.integers(0, 2**24, 1000), rng.integers(0, 18, 1000)
    cloud = point_cloud2.create_cloud(HEADER, VOXELS, points, point_step=20)
    assert (cloud.width, cloud.height, cloud.point_step, cloud.row_step) == (1000, 1, 20, 20000)
    assert not cloud.is_bigendian
    assert not cloud.is_dense
    assert cloud.header.frame_id == "base_link"
    assert cloud.fields == VOXELS
    assert bytes(cloud.data) == points.tobytes()
    np.testing.assert_array_equal(point_cloud2.read_points(cloud), points)


def test_rows_and_plain_arrays_become_clouds_too() -> None:
    rows = [(1.0, 2.0, 3.0), [4.0, 5.0, 6.0]]
    for points in (rows, np.array([tuple(r) for r in rows]), iter(rows)):
        cloud = point_cloud2.create_cloud_xyz32(HEADER, points)
        assert [f.name for f in cloud.fields] == ["x", "y", "z"]
        assert bytes(cloud.data) == struct.pack("<6f", 1, 2, 3, 4, 5, 6)
    mixed = [field("x", 0), field("label", 4, PointField.UINT8)]
    cloud = point_cloud2.create_cloud(HEADER, mixed, [(1.5, 7), (2.5, 8)])
    assert bytes(cloud.data) == struct.pack("<fBfB", 1.5, 7, 2.5, 8)


def test_points_can_be_read_as_a_plain_array() -> None:
    cloud = packed("<fffIBBxx", [(1.0, 2.0, 3.0, 0, 5, 6), (4.0, 5.0, 6.0, 0, 7, 8)], VOXELS)
    plain = point_cloud2.read_points_numpy(cloud, field_names=["x", "y", "z"])
    assert plain.dtype == np.float32
    assert plain.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(AssertionError, match="same datatype"):
        point_cloud2.read_points_numpy(cloud)


def test_points_can_be_read_as_named_tuples() -> None:
    cloud = packed("<fff", [(1.0, 2.0, 3.0)], XYZ)
    (point,) = point_cloud2.read_points_list(cloud)
    assert (point.x, point.y, point.z) == (1.0, 2.0, 3.0)
    (pair,) = point_cloud2.read_points_list(cloud, field_names=["z", "x"])
    assert pair._fields == ("z", "x")
    assert tuple(pair) == (3.0, 1.0)


def test_points_without_a_place_can_be_left_out() -> None:
    points = [(1.0, 2.0, 3.0), (math.nan, 2.0, 3.0), (7.0, math.nan, 9.0)]
    cloud = packed("<fff", points, XYZ)
    assert len(point_cloud2.read_points(cloud)) == 3
    assert point_cloud2.read_points(cloud, skip_nans=True)["z"].tolist() == [3.0]
    assert point_cloud2.read_points(cloud, ["x"], skip_nans=True)["x"].tolist() == [1.0, 7.0]
    cloud.is_dense = True
    assert len(point_cloud2.read_points(cloud, skip_nans=True)) == 3


def test_points_can_be_picked() -> None:
    cloud = packed("<fff", [(float(i), 0.0, 0.0) for i in range(5)], XYZ)
    for picked in ([3, 1], np.array([3, 1]), iter([3, 1])):
        assert point_cloud2.read_points(cloud, uvs=picked)["x"].tolist() == [3.0, 1.0]


def test_organised_clouds_keep_their_shape() -> None:
    grid = np.arange(4 * 3 * 3, dtype=np.float32).reshape(4, 3, 3)  # width 4, height 3, xyz
    cloud = point_cloud2.create_cloud_xyz32(HEADER, grid)
    assert (cloud.width, cloud.height, cloud.row_step) == (4, 3, 48)
    assert point_cloud2.read_points(cloud).shape == (12,)
    shaped = point_cloud2.read_points_numpy(cloud, reshape_organized_cloud=True)
    np.testing.assert_array_equal(shaped, grid)


def test_an_empty_cloud_is_a_cloud() -> None:
    cloud = point_cloud2.create_cloud_xyz32(HEADER, [])
    assert (cloud.width, len(cloud.data)) == (0, 0)
    assert len(point_cloud2.read_points(cloud)) == 0


def test_mistakes_are_refused() -> None:
    cloud = packed("<fff", [(1.0, 2.0, 3.0)], XYZ)
    with pytest.raises(AssertionError):
        point_cloud2.read_points(cloud, field_names=["intensity"])
    with pytest.raises(AssertionError):
        point_cloud2.read_points("no cloud")
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields([field("x", 0), field("x", 4)])
    with pytest.raises(AssertionError):
        point_cloud2.dtype_from_fields([field("x", 0, count=0)])
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, VOXELS, np.zeros((2, 6)))
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud(HEADER, XYZ, np.zeros(2, np.dtype([("x", "<f8")])))
    with pytest.raises(AssertionError):
        point_cloud2.create_cloud_xyz32(HEADER, np.zeros((2, 2, 2, 3)))

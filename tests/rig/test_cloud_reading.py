"""PointCloud2 as arrays: byte orders, padding, and what is no cloud."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from renderocc_ros.rig.cloud_reading import finite_points, points_of

FLOAT32 = 7


def cloud(order: str = "<", padding: int = 0, height: int = 2, width: int = 3, **more: Any) -> Any:
    """x, y, z count up; each point has 4 bytes behind it, and each row has padding."""
    point = np.dtype({"names": ["x", "y", "z"], "formats": [f"{order}f4"] * 3, "itemsize": 16})
    values = np.arange(3 * height * width, dtype=np.float32).reshape(height, width, 3)
    points = np.zeros((height, width), point)
    for place, axis in enumerate("xyz"):
        points[axis] = values[..., place]
    rows = [row.tobytes() + b"\xff" * padding for row in points]
    fields = [
        SimpleNamespace(name=axis, offset=4 * place, datatype=FLOAT32, count=1)
        for place, axis in enumerate("xyz")
    ]
    content = {
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": order == ">",
        "point_step": 16,
        "row_step": 16 * width + padding,
        "data": np.frombuffer(b"".join(rows), np.uint8),
    }
    return SimpleNamespace(**{**content, **more})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("padding", [0, 8])
def test_points_come_out_in_order(order: str, padding: int) -> None:
    points = points_of(cloud(order, padding))
    read = np.stack([points[axis] for axis in "xyz"], axis=1)
    np.testing.assert_array_equal(read, np.arange(18, dtype=np.float32).reshape(6, 3))


def test_points_without_a_place_are_left_out() -> None:
    points = points_of(cloud()).copy()
    points["x"][1], points["z"][4] = np.nan, np.inf
    np.testing.assert_array_equal(finite_points(points)["x"], [0, 6, 9, 15])


def test_empty_cloud_has_no_points() -> None:
    for height, width in ((0, 0), (0, 3), (4_294_967_295, 0)):
        assert (
            len(points_of(SimpleNamespace(**{**vars(cloud()), "height": height, "width": width})))
            == 0
        )


def test_the_length_of_a_single_row_is_not_asked_for() -> None:
    assert len(points_of(cloud(height=1, row_step=0))) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": np.zeros(20, np.uint8)}, "holds 20 bytes where its header says 96"),
        ({"height": 4_294_967_295, "row_step": 0}, "do not fit into rows of row_step = 0"),
        (
            {"row_step": 47},
            "3 points of point_step = 16 bytes do not fit into rows of row_step = 47",
        ),
        ({"point_step": 0, "row_step": 0, "fields": []}, "point_step = 0 bytes do not fit"),
        (
            {"fields": [SimpleNamespace(name="x", offset=0, datatype=99, count=1)]},
            "field 'x' has the unknown type 99",
        ),
    ],
)
def test_what_is_no_cloud_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        points_of(SimpleNamespace(**{**vars(cloud()), **change}))


def test_cloud_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="the cloud has no field z"):
        finite_points(np.zeros(2, [("x", "f4"), ("y", "f4")]))

"""The messages hold what their comments promise."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from renderocc_ros.class_set import IGNORE_ID

pytestmark = pytest.mark.ros
serialization = pytest.importorskip("rclpy.serialization", reason="needs ROS 2")
messages = pytest.importorskip("renderocc_ros.msg", reason="needs the built workspace")

SIZE = (3, 4, 5)


def test_unknown_is_the_label_that_no_class_has() -> None:
    assert messages.SemanticOccupancy.UNKNOWN == IGNORE_ID == 255


def test_the_documented_index_finds_each_cell_after_a_round_trip() -> None:
    labels = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8)
    message = messages.SemanticOccupancy(class_table="occ3d", resolution=0.4)
    message.size_x, message.size_y, message.size_z = SIZE
    message.labels = array("B", labels.tobytes())
    message.cameras_missing = ["left"]
    received = serialization.deserialize_message(
        serialization.serialize_message(message), messages.SemanticOccupancy
    )
    for i, j, k in np.ndindex(*SIZE):
        index = (i * received.size_y + j) * received.size_z + k
        assert received.labels[index] == labels[i, j, k]
    assert isinstance(received.labels, array) and received.labels.typecode == "B"
    assert len(received.observed) == 0 and received.cameras_missing == ["left"]
    assert received.resolution == pytest.approx(0.4)


def test_a_class_table_survives_a_round_trip() -> None:
    free = messages.SemanticClass(id=1, name="free", free=True)
    car = messages.SemanticClass(id=0, name="car", moves=True)
    car.colour.r, car.colour.a = 0.5, 1.0
    table = messages.SemanticClasses(class_table="own", classes=[car, free])
    data = serialization.serialize_message(table)
    assert serialization.deserialize_message(data, messages.SemanticClasses) == table

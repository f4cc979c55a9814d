"""The map over time, live: in the odometry frame, the same on all topics and in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from renderocc_ros.msg import SemanticOccupancy
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.config import load_class_set, load_rig
from renderocc_ros.node.inputs import rig_in_use
from renderocc_ros.node.parameters import NodeParameters
from renderocc_ros.occupancy.messages import occupancy_of, stamp_ns_of
from renderocc_ros.occupancy.occ3d_files import read_prediction
from tests.node import robot as robots
from tests.node.live import LATCHED, Control, Listener, occupancy_node, ros_node

pytestmark = pytest.mark.ros
OCC3D = load_class_set("occ3d")
OUTPUTS = ("map", "map_points", "map_costmap")


@pytest.fixture(scope="module")
def mapping(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[robots.Robot, Listener, Control]]:
    folder = tmp_path_factory.mktemp("map")
    rig = robots.write_rig(folder / "rig.yaml", robots.rig_content())
    with ros_node("test_robot") as node:
        listener = Listener(node)
        listener.listen(SemanticOccupancy, "/renderocc/map")
        listener.listen(PointCloud2, "/renderocc/map_points")
        listener.listen(OccupancyGrid, "/renderocc/map_costmap", LATCHED)
        parameters = {"map.enabled": True, "map.size_m": 30.2, "threshold": 0.13}
        with (
            robots.Robot(node) as robot,
            occupancy_node(rig=rig, save_folder=str(folder), **parameters),
        ):
            yield robot, listener, Control(node)


def of_one_stamp(listener: Listener) -> list[Any]:
    """The last map with the points and the costmap of its stamp."""
    by_stamp = [
        {
            (m.header.stamp.sec, m.header.stamp.nanosec): m
            for m in listener.messages[f"/renderocc/{n}"]
        }
        for n in OUTPUTS
    ]
    stamps = sorted(set.intersection(*map(set, by_stamp)))
    return [messages[stamps[-1]] for messages in by_stamp] if len(stamps) > 2 else []


def test_all_topics_show_one_map_in_the_odometry_frame(
    mapping: tuple[robots.Robot, Listener, Control],
) -> None:
    _, listener, _ = mapping
    message, cloud, costmap = listener.wait(lambda: of_one_stamp(listener), "maps of one stamp")
    assert {m.header.frame_id for m in (message, cloud, costmap)} == {"odom"}
    result = occupancy_of(message, OCC3D)
    cells = result.grid.size
    assert result.grid.resolution_m == pytest.approx(0.5) and cells == (61, 61, 8)
    lattice = np.array(result.grid.origin_m) / result.grid.resolution_m
    assert np.allclose(lattice, np.rint(lattice), atol=1e-4)  # cells stand still in odom
    known = result.labels != IGNORE_ID
    assert 0.02 < known.mean() < 0.9
    occupied = np.argwhere(result.occupied & known)
    assert len(occupied) > 20
    points = point_cloud2.read_points(cloud)
    centres = np.stack([points[axis] for axis in "xyz"], axis=-1)
    assert np.allclose(centres, result.grid.centres(occupied), atol=1e-3)
    assert np.array_equal(points["label"], result.labels[tuple(occupied.T)])
    costs = np.array(costmap.data).reshape(costmap.info.height, costmap.info.width).T
    assert costs.shape == cells[:2] and set(np.unique(costs)) == {-1, 0, 100}
    assert (costs[~known.any(axis=2)] == -1).all()
    assert costmap.info.origin.position.x == pytest.approx(result.grid.origin_m[0])
    assert costmap.info.origin.position.y == pytest.approx(result.grid.origin_m[1])
    (publisher,) = listener.node.get_publishers_info_by_topic("/renderocc/map_costmap")
    qos = publisher.qos_profile
    assert qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert qos.reliability == ReliabilityPolicy.RELIABLE


def test_the_map_is_saved_and_forgotten(
    mapping: tuple[robots.Robot, Listener, Control],
) -> None:
    robot, listener, control = mapping
    listener.wait(lambda: of_one_stamp(listener), "a map")
    saved = control.trigger("save_map")
    assert saved.success, saved.message
    file = Path(saved.message)
    stamp_ns = int(file.stem.removeprefix("map-"))

    def published() -> Any:
        return next(
            (
                m
                for m in listener.messages["/renderocc/map"]
                if stamp_ns_of(m.header.stamp) == stamp_ns
            ),
            None,
        )

    message = listener.wait(published, "the saved map")
    labels = read_prediction(file)
    assert np.array_equal(labels, occupancy_of(message, OCC3D).labels)
    maps = listener.messages["/renderocc/map"]
    listener.wait(lambda: len(maps) > 15, "a map of many sets")
    assert control.trigger("reset").success
    reset_ns, before = robot.sent[-1].stamp_ns, known_cells(maps[-1])
    listener.wait(
        lambda: [
            m
            for m in maps
            if stamp_ns_of(m.header.stamp) > reset_ns and known_cells(m) < 0.7 * before
        ],
        "a map that knows less",
    )


def known_cells(message: Any) -> int:
    return int((np.array(message.labels) != IGNORE_ID).sum())


def test_a_map_needs_odometry(tmp_path: Path) -> None:
    content = robots.rig_content()
    content["odom_frame"] = None
    rig = load_rig(str(robots.write_rig(tmp_path / "rig.yaml", content)))
    with pytest.raises(ValueError, match="has no odom_frame, in which the map would stand still"):
        rig_in_use(rig, NodeParameters(map_enabled=True))

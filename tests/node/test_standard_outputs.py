"""Detections, octree and voxel grid of the real node, over DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")
pytest.importorskip("nav2_msgs", reason="nav2_msgs is not installed")
pytest.importorskip("octomap_msgs", reason="octomap_msgs is not installed")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

from lifecycle_msgs.msg import Transition
from nav2_msgs.msg import VoxelGrid as VoxelGridMessage
from nav_msgs.msg import OccupancyGrid
from octomap_msgs.msg import Octomap
from renderocc_ros.msg import SemanticOccupancy
from vision_msgs.msg import Detection3DArray

from renderocc_ros.config import load_class_set
from renderocc_ros.node.costmap import blocking_voxels, layers_between
from renderocc_ros.node.obstacles import BLOCKED
from renderocc_ros.node.obstacles import FREE as FREE_COST
from renderocc_ros.occupancy.messages import occupancy_of
from renderocc_ros.occupancy.objects import object_boxes
from renderocc_ros.occupancy.octree import FREE, OCCUPIED, UNKNOWN, cell_states
from tests.node import robot as robots
from tests.node.live import LATCHED, Control, Listener, occupancy_node, ros_node
from tests.occupancy.octree_reader import read_states
from tests.occupancy.voxel_columns import read_columns

pytestmark = pytest.mark.ros
OCC3D = load_class_set("occ3d")
OUTPUTS = ("occupancy", "costmap", "detections", "octomap", "voxel_grid", "map")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Listener, Control]]:
    rig = robots.write_rig(tmp_path_factory.mktemp("rig") / "rig.yaml", robots.rig_content())
    with ros_node("test_robot") as node:
        listener = Listener(node)
        for kind, name in (
            (SemanticOccupancy, "occupancy"),
            (SemanticOccupancy, "map"),
            (OccupancyGrid, "costmap"),
            (Detection3DArray, "detections"),
            (VoxelGridMessage, "voxel_grid"),
        ):
            listener.listen(kind, f"/renderocc/{name}")
        listener.listen(Octomap, "/renderocc/octomap", LATCHED)
        with (
            robots.Robot(node),
            occupancy_node(rig=rig, threshold=0.13, outputs=list(OUTPUTS)),
        ):
            yield listener, Control(node)


def of_one_stamp(listener: Listener, *names: str, frame: str = "") -> list[Any]:
    """The newest messages of these topics that have the same stamp."""
    topics = [listener.messages[f"/renderocc/{name}"] for name in names]
    for first in reversed(topics[0]):
        same = [
            next((m for m in topic if m.header.stamp == first.header.stamp), None)
            for topic in topics
        ]
        if all(same) and (not frame or same[-1].header.frame_id == frame):
            return same
    return []


def states_of(octomap: Octomap, result: Any) -> np.ndarray:
    assert octomap.binary and octomap.id == "OcTree"
    return read_states(octomap.data.tobytes(), octomap.resolution, result.grid)


def test_detections_are_the_objects_of_the_classes_that_move(
    running: tuple[Listener, Control],
) -> None:
    listener, control = running
    message, detections = listener.wait(
        lambda: of_one_stamp(listener, "occupancy", "detections"), "detections"
    )
    assert detections.header == message.header
    boxes = object_boxes(occupancy_of(message, OCC3D), OCC3D.moving_names, 2)
    assert len(boxes) > 3
    got = [
        (
            each.results[0].hypothesis.class_id,
            each.results[0].hypothesis.score,
            (p := each.bbox.center.position).x,
            p.y,
            p.z,
            2 * np.arctan2(each.bbox.center.orientation.z, each.bbox.center.orientation.w),
            (s := each.bbox.size).x,
            s.y,
            s.z,
        )
        for each in detections.detections
    ]
    for mine, box in zip(got, boxes, strict=True):
        assert mine[0] == OCC3D.names[box.label]
        expected = (box.score, *box.centre_m, box.yaw_rad, *box.size_m)
        assert mine[1:] == pytest.approx(expected, abs=1e-6)
    only = boxes[0].label
    assert control.set(detections__classes=[OCC3D.names[only]]) == ""
    listener.wait(
        lambda: (
            {
                each.results[0].hypothesis.class_id
                for each in listener.messages["/renderocc/detections"][-1].detections
            }
            == {OCC3D.names[only]}
        ),
        "detections of one class",
    )
    assert "detections.min_voxels" in control.set(detections__min_voxels=0)
    assert "did you mean 'car'" in control.set(octomap__classes=["cars"])


def test_octree_and_voxel_grid_hold_the_result_and_what_is_seen_free(
    running: tuple[Listener, Control],
) -> None:
    listener, _ = running
    message, costmap, voxels, octomap = listener.wait(
        lambda: of_one_stamp(listener, "occupancy", "costmap", "voxel_grid", "octomap"),
        "octree and voxel grid",
    )
    assert octomap.header == voxels.header == message.header
    result = occupancy_of(message, OCC3D)
    states = states_of(octomap, result)
    assert np.array_equal(states, read_columns(voxels))
    assert np.array_equal(states == OCCUPIED, result.shown)
    free = states == FREE
    assert not (free & result.occupied).any() and free.any()
    hidden = (cell_states(result) == FREE) & (states == UNKNOWN)  # behind what is occupied
    assert hidden.any()
    layers = layers_between(result.grid, (0.3, 2.0))
    costs = np.array(costmap.data, np.int8).reshape(costmap.info.height, costmap.info.width).T
    blocked = blocking_voxels(result, layers, ()).any(axis=2)
    assert np.array_equal(costs == BLOCKED, blocked)
    seen = (free & result.in_view)[:, :, layers]  # lines of sight cross some that no image shows
    open_columns = seen.any(axis=2) & ~blocked
    assert (costs[open_columns] == FREE_COST).all() and open_columns.any()
    assert open_columns[costs == FREE_COST].mean() > 0.9  # in others the ground alone is seen


def test_where_a_map_is_kept_the_octree_is_the_maps(running: tuple[Listener, Control]) -> None:
    listener, control = running
    assert control.set(map__enabled=True, map__size_m=30.0) == ""
    message, octomap = listener.wait(
        lambda: of_one_stamp(listener, "map", "octomap", frame="odom"), "octree of the map"
    )
    result = occupancy_of(message, OCC3D)
    states = states_of(octomap, result)
    assert np.array_equal(states, cell_states(result))
    assert set(np.unique(states)) == {UNKNOWN, FREE, OCCUPIED}
    assert control.set(map__enabled=False) == ""


def test_a_message_that_is_not_installed_is_named_with_its_cure(tmp_path: Path) -> None:
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    missing = "import sys; sys.modules['vision_msgs'] = None"
    cure = (
        "outputs: 'detections': vision_msgs/msg/Detection3DArray needs the package vision_msgs: "
        "sudo apt install ros-$ROS_DISTRO-vision-msgs"
    )
    with (
        ros_node("no_vision_msgs") as node,
        occupancy_node(
            *("-r", "__node:=other"), rig=rig, outputs=["points", "detections"], first=missing
        ),
    ):
        listener, control = Listener(node), Control(node, "/other")
        listener.wait(listener.says("lifecycle", cure, "/other"), "the cure")
        assert control.set(outputs=["points", "octomap"]) == ""
        assert control.change(Transition.TRANSITION_CONFIGURE)
        assert control.set(outputs=["detections"]) == cure

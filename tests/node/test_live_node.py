"""The node as a process of its own: what it publishes is what the network says, voxel for voxel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

from nav_msgs.msg import OccupancyGrid
from rclpy.qos import qos_profile_sensor_data
from renderocc_ros.msg import SemanticClasses, SemanticOccupancy
from sensor_msgs.msg import Image, PointCloud2
from sensor_msgs_py import point_cloud2
from visualization_msgs.msg import Marker, MarkerArray

from renderocc_ros.config import load_class_set
from renderocc_ros.node.costmap import VisibleVoxels, blocking_voxels, layers_between, to_costs
from renderocc_ros.node.obstacles import (
    BLOCKED,
    FREE,
    UNKNOWN,
    Reach,
    clearing_points,
    obstacle_points,
)
from renderocc_ros.occupancy.messages import occupancy_of, stamp_ns_of
from renderocc_ros.prediction import Predictor
from renderocc_ros.rendering.camera_view import ViewRenderer
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.rig.image_preprocessing import ImagePreprocessor
from renderocc_ros.viewing.colours import class_colours
from tests.node import robot as robots
from tests.node.expected import sent_set
from tests.node.live import LATCHED, NETWORK, Control, Listener, occupancy_node, ros_node

pytestmark = pytest.mark.ros
OCC3D = load_class_set("occ3d")
THRESHOLD = 0.13  # leaves about a tenth of the voxels of the untrained network occupied


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[robots.Robot, Listener]]:
    """A robot with three JPEG cameras, the node, and a listener to all of its outputs."""
    rig = robots.write_rig(tmp_path_factory.mktemp("rig") / "rig.yaml", robots.rig_content())
    with ros_node("test_robot") as node:
        listener = Listener(node)
        for kind, name in (
            (PointCloud2, "points"),
            (MarkerArray, "markers"),
            (SemanticOccupancy, "occupancy"),
            (OccupancyGrid, "costmap"),
        ):
            listener.listen(kind, f"/renderocc/{name}")
        for name in ("obstacles", "clearing"):
            listener.listen(PointCloud2, f"/renderocc/{name}", qos_profile_sensor_data)
        for kind in ("depth", "semantics"):
            listener.listen(Image, f"/renderocc/rendered/left/{kind}")
        listener.listen(SemanticClasses, "/renderocc/classes", LATCHED)
        with robots.Robot(node) as robot, occupancy_node(rig=rig, threshold=THRESHOLD):
            yield robot, listener


def whole_sets(listener: Listener) -> list[Any]:
    return [m for m in listener.messages["/renderocc/occupancy"] if len(m.cameras_used) == 3]


def same_stamp(messages: list[Any], stamp: Any) -> Any:
    return next((m for m in messages if m.header.stamp == stamp), None)


def expected(sent: robots.SentSet, start_ns: int) -> Any:
    """The result computed in this process, from the JPEGs that were sent."""
    return predicted(sent, start_ns)[0]


def predicted(sent: robots.SentSet, start_ns: int) -> tuple[Any, Predictor, CameraSet]:
    """That result, the predictor that gave it, and the set of cameras."""
    predictor = Predictor.from_preset(NETWORK, threads=1)
    predictor.threshold = THRESHOLD
    reduction = ImagePreprocessor(predictor.config.image).reduction
    cameras = sent_set(sent.stamp_ns, sent.images, start_ns, reduction)
    return predictor.predict(cameras), predictor, cameras


def test_result_is_the_networks_own_for_the_images_that_were_sent(
    running: tuple[robots.Robot, Listener],
) -> None:
    robot, listener = running
    message = listener.wait(lambda: whole_sets(listener)[-1:], "result of all cameras")[0]
    stamp_ns = stamp_ns_of(message.header.stamp)
    sent = next(s for s in robot.sent if s.stamp_ns == stamp_ns)
    assert message.header.frame_id == "base_link"
    assert message.cameras_used == list(robots.NAMES)
    assert [stamp_ns_of(s) for s in message.camera_stamps] == list(sent.stamps_ns.values())
    truth = expected(sent, robot.start_ns)
    assert 0.01 < truth.occupied.mean() < 0.9  # a grid of one label would prove nothing
    assert len(np.unique(truth.labels)) > 3
    result = occupancy_of(message, OCC3D)
    assert result.grid == truth.grid
    assert (result.labels != truth.labels).mean() < 1e-3  # float noise at the threshold
    assert np.abs(result.confidence.astype(int) - truth.confidence).max() <= 1
    assert (result.in_view == truth.in_view).mean() > 0.999


def test_all_outputs_show_the_same_voxels(running: tuple[robots.Robot, Listener]) -> None:
    robot, listener = running
    outputs = ("points", "markers", "occupancy", "costmap")

    def matching() -> Any:
        for message in reversed(whole_sets(listener)):
            stamp = message.header.stamp
            cloud = same_stamp(listener.messages["/renderocc/points"], stamp)
            costmap = same_stamp(listener.messages["/renderocc/costmap"], stamp)
            markers = next(
                (
                    m
                    for m in listener.messages["/renderocc/markers"]
                    if m.markers and m.markers[0].header.stamp == stamp
                ),
                None,
            )
            if cloud and costmap and markers:
                return message, cloud, markers, costmap
        return None

    message, cloud, markers, costmap = listener.wait(matching, f"{outputs} of one stamp")
    result = occupancy_of(message, OCC3D)
    points = point_cloud2.read_points(cloud)
    cells, inside = result.grid.index_of(xyz_of(cloud))
    assert inside.all()
    rebuilt = np.full(result.grid.size, OCC3D.free_id, np.uint8)
    rebuilt[tuple(cells.T)] = points["label"]
    assert result.in_view is not None and not result.in_view.all()
    assert (rebuilt == np.where(result.shown, result.labels, OCC3D.free_id)).all()
    cubes = {m.id: len(m.points) for m in markers.markers if m.action == Marker.ADD}
    labels, counts = np.unique(points["label"], return_counts=True)
    assert cubes == dict(zip(labels.tolist(), counts.tolist(), strict=True))
    sent = next(s for s in robot.sent if s.stamp_ns == result.stamp_ns)
    predictor, cameras = predicted(sent, robot.start_ns)[1:]
    layers = layers_between(result.grid, (0.3, 2.0))
    visible = VisibleVoxels(predictor.config.image).of(result, cameras, layers)
    costs = to_costs(result, (0.3, 2.0), visible=visible)
    got = np.array(costmap.data, np.int8).reshape(costs.T.shape).T
    assert ((got == BLOCKED) == (costs == BLOCKED)).all()
    assert (got == costs).mean() > 0.98  # sight was planned where the cameras were a little before
    assert set(np.unique(got)) == {BLOCKED, FREE, UNKNOWN}


def test_obstacles_and_clearing_are_about_the_voxels_of_the_same_stamp(
    running: tuple[robots.Robot, Listener],
) -> None:
    _, listener = running
    names = ("obstacles", "clearing", "costmap")

    def matching() -> Any:
        for message in reversed(whole_sets(listener)):
            stamp = message.header.stamp
            result = [same_stamp(listener.messages[f"/renderocc/{name}"], stamp) for name in names]
            if all(result):
                return message, *result
        return None

    message, obstacles, clearing, costmap = listener.wait(matching, f"{names} of one stamp")
    result = occupancy_of(message, OCC3D)
    layers, reach = layers_between(result.grid, (0.3, 2.0)), Reach(0.05, 10.0, 1.0)
    blocking = blocking_voxels(result, layers, ())
    points = obstacle_points(result.grid, blocking, layers.start, (0.3, 2.0), reach)
    assert obstacles.header.frame_id == clearing.header.frame_id == "base_link"
    assert len(points) > 1000
    assert np.array_equal(xyz_of(obstacles), points)
    costs = np.array(costmap.data, np.int8).reshape(result.grid.size[1::-1]).T
    ends = clearing_points(result.grid, costs, 1.15, reach)
    assert len(ends) > 10
    assert np.array_equal(xyz_of(clearing), ends)


def xyz_of(cloud: PointCloud2) -> np.ndarray:
    points = point_cloud2.read_points(cloud)
    return np.stack([points[axis] for axis in "xyz"], axis=-1)


def test_rendered_views_are_the_field_seen_from_the_camera(
    running: tuple[robots.Robot, Listener],
) -> None:
    robot, listener = running
    topic = "/renderocc/rendered/left"

    def pair() -> Any:
        for depth in reversed(listener.messages[f"{topic}/depth"]):
            stamp_ns = stamp_ns_of(depth.header.stamp)
            sent = next((s for s in robot.sent if s.stamps_ns.get("left") == stamp_ns), None)
            semantics = same_stamp(listener.messages[f"{topic}/semantics"], depth.header.stamp)
            if semantics and sent and len(sent.images) == 3:
                return sent, depth, semantics
        return None

    sent, depth, semantics = listener.wait(pair, "rendered views of one stamp")
    assert (depth.encoding, semantics.encoding) == ("32FC1", "rgb8")
    assert depth.header.frame_id == "left_optical"
    assert depth.width == 176
    predictor, cameras = predicted(sent, robot.start_ns)[1:]
    assert predictor.field is not None
    posed = cameras.images[robots.NAMES.index("left")]
    renderer = ViewRenderer(predictor.field, predictor.grid, predictor.threshold)
    model = posed.model.resized(depth.width, depth.height)
    view = renderer.view(model, posed.ego_from_camera)
    got = np.frombuffer(depth.data, np.float32).reshape(depth.height, depth.width)
    assert np.isfinite(view.depth_m).mean() > 0.1
    assert (np.isfinite(got) == np.isfinite(view.depth_m)).mean() > 0.995
    both = np.isfinite(got) & np.isfinite(view.depth_m)
    assert np.median(np.abs(got - view.depth_m)[both]) < 1e-3
    picture = np.frombuffer(semantics.data, np.uint8).reshape(depth.height, depth.width, 3)
    assert (picture == class_colours(view.labels, OCC3D)).all(axis=-1).mean() > 0.98


def test_class_table_reaches_a_late_subscriber(running: tuple[robots.Robot, Listener]) -> None:
    _, listener = running
    listener.wait(lambda: listener.messages["/renderocc/classes"], "class table")
    with ros_node("late") as node:
        late = Listener(node)
        tables = late.listen(SemanticClasses, "/renderocc/classes", LATCHED)
        table = late.wait(lambda: tables[:1], "latched class table")[0]
    assert [entry.name for entry in table.classes] == [*OCC3D.names, "free"]


def test_save_writes_the_last_result(
    running: tuple[robots.Robot, Listener], tmp_path: Path
) -> None:
    robot, listener = running
    listener.wait(lambda: whole_sets(listener), "a result")
    control = Control(robot.node)
    assert control.set(save_folder=str(tmp_path / "results")) == ""
    saved = control.trigger("save")
    assert saved.success, saved.message
    with np.load(saved.message) as arrays:
        stamp_ns = int(arrays["stamp_ns"])
        message = listener.wait(
            lambda: next(
                (m for m in whole_sets(listener) if stamp_ns_of(m.header.stamp) == stamp_ns), None
            ),
            "the saved result as a message",
        )
        assert (arrays["semantics"] == occupancy_of(message, OCC3D).labels).all()
        assert arrays["class_names"][-1] == "free"
    assert control.set(save_folder="/proc/nowhere") == ""
    refused = control.trigger("save")
    assert not refused.success
    assert "save_folder" in refused.message
    assert control.trigger("reset").success


def test_moved_robot_is_seen_in_the_poses_and_counts_add_up(
    running: tuple[robots.Robot, Listener],
) -> None:
    _, listener = running
    listener.wait(lambda: int(listener.values("state").get("sets_published", 0)) > 5, "6 sets")
    counts = listener.values("state")
    dropped = sum(int(n) for key, n in counts.items() if key.startswith("dropped."))
    in_flight = (
        int(counts["sets_complete"])
        + int(counts.get("sets_partial", 0))
        - int(counts["sets_published"])
        - dropped
    )
    assert 0 <= in_flight <= 3
    for name in robots.NAMES:
        images = listener.values(f"camera {name}")
        lost = sum(int(n) for key, n in images.items() if key.startswith("dropped."))
        assert int(images["received"]) == int(images["used"]) + int(images["waiting"]) + lost
        assert int(images["used"]) > 5
    assert listener.values("camera front")["frame"] == "front_optical"
    assert float(listener.values("latency")["total.p50_ms"]) > 0

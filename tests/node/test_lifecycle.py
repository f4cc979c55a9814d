"""Lifecycle, parameters, namespaces and simulated time of the real node."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="no ROS 2 in this Python")

import itertools
import weakref

import rclpy
import torch
from builtin_interfaces.msg import Time
from lifecycle_msgs.msg import Transition, TransitionEvent
from renderocc_ros.msg import SemanticOccupancy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from sensor_msgs_py import point_cloud2

import renderocc_ros.node.occupancy_node as occupancy_node_module
from renderocc_ros.config import load_class_set
from renderocc_ros.node.model_loading import release_memory
from renderocc_ros.node.occupancy_node import SUCCESS
from renderocc_ros.node.parameters import DEFAULTS, SPECS, NodeParameters
from renderocc_ros.occupancy.messages import stamp_ns_of
from renderocc_ros.prediction import Predictor
from tests.contracts.checkout import ROOT
from tests.node import robot as robots
from tests.node.live import NETWORK, Control, Listener, occupancy_node, ros_node

pytestmark = pytest.mark.ros


def labels_of(cloud: PointCloud2) -> set[int]:
    return set(point_cloud2.read_points(cloud)["label"].tolist())


@pytest.fixture
def rig(tmp_path: Path) -> str:
    return robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())


@pytest.fixture
def node() -> Iterator[Any]:
    with ros_node("lifecycle_test") as own:
        yield own


def test_wrong_rig_is_named_and_mended_without_a_restart(node: Any, rig: str) -> None:
    listener, control = Listener(node), Control(node)
    results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
    with robots.Robot(node), occupancy_node(rig="nuscense"):
        listener.wait(listener.says("lifecycle", "no rigs file 'nuscense'"), "the reason")
        assert "nuscenes" in listener.message("state")
        assert listener.values("state")["lifecycle"] == "unconfigured"
        assert control.set(rig=rig) == ""
        assert control.change(Transition.TRANSITION_CONFIGURE)
        assert control.change(Transition.TRANSITION_ACTIVATE)
        listener.wait(lambda: results, "results after the cure")


def test_wrong_checkpoint_and_device_are_named(node: Any, rig: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a checkpoint")
    listener, control = Listener(node), Control(node)
    with occupancy_node(rig=rig, checkpoint=broken):
        listener.wait(listener.says("lifecycle", "broken.safetensors"), "the reason")
        assert control.set(checkpoint="", device="warp") == ""
        assert not control.change(Transition.TRANSITION_CONFIGURE)
        listener.wait(listener.says("lifecycle", "device = 'warp'"), "the next reason")


def test_error_that_nobody_expects_reaches_the_error_state_with_its_reason(
    node: Any, rig: str
) -> None:
    listener, control = Listener(node), Control(node)
    transitions = listener.listen(TransitionEvent, "/renderocc/transition_event")
    broken = "occupancy_node.load_predictor = lambda parameters: parameters.no_such_thing"
    with occupancy_node(rig=rig, autostart=False, first=broken):
        assert not control.change(Transition.TRANSITION_CONFIGURE)
        listener.wait(
            lambda: (
                [t.goal_state.label for t in transitions][-2:]
                == ["errorprocessing", "unconfigured"]
            ),
            "error state",
        )
        output = listener.wait(lambda: listener.message("lifecycle"), "the reason")
        assert output.startswith("configure failed: AttributeError: ")
        assert "no_such_thing" in output


def test_deactivate_lets_go_of_a_model_on_a_gpu(rig: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be no GPU here, so a model on the CPU says that it is on one."""
    loaded: list[weakref.ref[Predictor]] = []

    def load(parameters: NodeParameters) -> Predictor:
        predictor = Predictor.from_preset(NETWORK, device="cpu")
        predictor.device = torch.device("cuda")
        loaded.append(weakref.ref(predictor))
        return predictor

    released: list[bool] = []

    def release() -> None:
        release_memory()
        released.append(loaded[-1]() is None)

    monkeypatch.setattr(occupancy_node_module, "load_predictor", load)
    monkeypatch.setattr(occupancy_node_module, "warm_up", lambda predictor, names: None)
    monkeypatch.setattr(occupancy_node_module, "release_memory", release)
    context = rclpy.Context()
    # In a namespace of its own: what Python keeps of this node must not answer the other tests.
    arguments = ["--ros-args", "-r", "__ns:=/gpu", "-p", f"rig:={rig}"]
    rclpy.init(args=arguments, context=context)
    node = occupancy_node_module.OccupancyNode(context=context)
    for _ in range(2):
        assert (node.trigger_configure() if not loaded else SUCCESS) == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert loaded[-1]() is not None
        assert node.trigger_deactivate() == SUCCESS
        assert released[-1]
    assert len(loaded) == 2
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_deactivate_stops_and_activate_goes_on(node: Any, rig: str) -> None:
    listener, control = Listener(node), Control(node)
    results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
    with robots.Robot(node) as robot, occupancy_node(rig=rig, autostart=False):
        assert control.change(Transition.TRANSITION_CONFIGURE)
        assert node.count_subscribers("/front/image_raw/compressed") == 0
        assert control.change(Transition.TRANSITION_ACTIVATE)
        listener.wait(lambda: results, "results")
        assert control.change(Transition.TRANSITION_DEACTIVATE)
        listener.wait(lambda: node.count_subscribers("/front/image_raw/compressed") == 0, "silence")
        stopped_ns, cycles = time.time_ns(), robot.cycles
        listener.wait(lambda: robot.cycles > cycles + 5, "pictures that nobody looks at")
        started_ns = time.time_ns()
        assert control.change(Transition.TRANSITION_ACTIVATE)
        listener.wait(
            lambda: stamp_ns_of(results[-1].header.stamp) > stopped_ns, "results after a pause"
        )
        stamps = [stamp_ns_of(m.header.stamp) for m in results]
        assert not [s for s in stamps if stopped_ns < s < started_ns - 200_000_000]
        assert control.change(Transition.TRANSITION_DEACTIVATE)
        assert control.change(Transition.TRANSITION_CLEANUP)
        assert control.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)


def test_parameters_change_while_it_runs_or_say_why_not(node: Any, rig: str) -> None:
    listener, control = Listener(node), Control(node)
    results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
    clouds = listener.listen(PointCloud2, "/renderocc/points")
    with robots.Robot(node), occupancy_node(rig=rig):
        listener.wait(lambda: clouds, "points")

        refused = {
            "rig": ("nuscenes", "'unconfigured'"),
            "threshold": (1.5, "out of range"),
            "cameras": (["frnt"], "did you mean 'front'?"),
            "outputs": (["voxels"], "'heights', 'map', 'map_points', 'map_costmap', 'rendered'"),
            "sync__missing": ("guess", "'wait', 'skip', 'mask', 'reuse'"),
            "costmap__height_m": ([2.0, 0.3], "the lower one first"),
            "points__classes": (
                ["cars"],
                "there is no 'cars'; did you mean 'car'?",
            ),
            "rendered__classes": (["voxel"], "there are others, barrier, bicycle"),
            "threads": (4, "read-only"),
        }
        for name, (value, reason) in refused.items():
            assert reason in control.set(**{name: value}), name

        assert control.set(threshold=0.0) == ""
        listener.wait(lambda: all(x != 17 for x in results[-1].labels), "a threshold of 0")
        assert control.set(threshold=1.0) == ""
        listener.wait(lambda: all(x == 17 for x in results[-1].labels), "a threshold of 1")

        assert control.set(cameras=["front", "rear"]) == ""
        listener.wait(lambda: results[-1].cameras_used == ["front", "rear"], "two cameras")
        assert results[-1].cameras_missing == ["left"]
        assert node.count_subscribers("/left/image_raw/compressed") == 0
        assert control.set(cameras=["front", "left", "rear"]) == ""
        listener.wait(lambda: len(results[-1].cameras_used) == 3, "all cameras again")
        assert all(x == 17 for x in results[-1].labels)
        assert control.set(threshold=-1.0) == ""  # the network's own
        listener.wait(lambda: any(x != 17 for x in results[-1].labels), "the network's threshold")

        chosen = {0, 1, 2, 3, 4, 5, 6, 7}
        names = [load_class_set("occ3d").names[number] for number in chosen]
        assert control.set(points__classes=names, occupancy__classes=names) == ""
        listener.wait(lambda: set(results[-1].labels) <= {*chosen, 17, 255}, "chosen classes")
        assert 255 in results[-1].labels
        listener.wait(lambda: labels_of(clouds[-1]) <= chosen, "points of chosen classes")
        assert labels_of(clouds[-1])

        assert control.set(outputs=["occupancy"]) == ""
        count = len(results)
        listener.wait(lambda: len(results) > count + 3, "grids go on")
        newest = clouds[-1].header.stamp
        count = len(results)
        listener.wait(lambda: len(results) > count + 3, "grids go on")
        assert clouds[-1].header.stamp == newest

        assert control.set(max_rate_hz=2.0) == ""
        start = len(results)
        listener.wait(lambda: len(results) > start + 4, "fewer results")
        stamps = [stamp_ns_of(m.header.stamp) * 1e-9 for m in results[start + 1 :]]
        gaps = [after - before for before, after in itertools.pairwise(stamps)]
        assert min(gaps) > 0.35  # the robot sends every 0.1 s


def test_a_period_that_the_rigs_tolerance_forbids_is_refused(node: Any, tmp_path: Path) -> None:
    """Once taken, it would leave the node without inputs."""
    content = robots.rig_content(tolerance_s=0.04)
    rig = robots.write_rig(tmp_path / "rig.yaml", content)
    listener, control = Listener(node), Control(node)
    results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
    with robots.Robot(node), occupancy_node(rig=rig):
        listener.wait(lambda: results, "results")
        reason = control.set(sync__period_s=0.05)
        assert "tolerance_s = 0.04 must be below half of period_s = 0.05" in reason
        count = len(results)
        listener.wait(lambda: len(results) > count + 3, "further results")
    listener.status.clear()
    with occupancy_node(rig=rig, sync__period_s=0.05):
        message = (
            "configure failed: rig 'test_robot' with the parameters sync.*: tolerance_s = 0.04"
        )
        listener.wait(listener.says("state", message), "the reason")


def test_every_parameter_is_described(node: Any, rig: str) -> None:
    control = Control(node)
    with occupancy_node(rig=rig, autostart=False):
        for name, output in zip(SPECS, control.describe(list(SPECS)), strict=True):
            assert output.description == SPECS[name].description
            assert "can change" in output.additional_constraints
            bounded = bool(output.floating_point_range or output.integer_range)
            assert bounded == (SPECS[name].lowest is not None)


def test_shipped_parameter_file_holds_every_parameter_at_its_default() -> None:
    text = (ROOT / "config" / "node.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)["/**"]["ros__parameters"]
    flat: dict[str, Any] = {}
    for key, value in content.items():
        nested = value.items() if isinstance(value, dict) else [(None, value)]
        flat.update({f"{key}.{sub}" if sub else key: inner for sub, inner in nested})
    expected = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in DEFAULTS.items()
        if value != ()  # YAML of ROS cannot say "an empty list of texts"
    }
    assert flat == expected
    assert "# cameras:" in text


def test_namespaces_and_two_nodes_side_by_side(node: Any, tmp_path: Path) -> None:
    """The same rig file twice, in two namespaces: each node sees its own robot."""
    rig = robots.write_rig(tmp_path / "rig.yaml", robots.rig_content())
    listener = Listener(node)
    first = listener.listen(SemanticOccupancy, "/one/renderocc/occupancy")
    second = listener.listen(SemanticOccupancy, "/two/other_name/occupancy")
    with (
        robots.Robot(node, namespace="/one") as robot,
        occupancy_node("-r", "__ns:=/one", rig=rig),
        occupancy_node("-r", "__ns:=/two", "-r", "__node:=other_name", rig=rig),
    ):
        listener.wait(lambda: first, "results of the first robot")
        message = "no messages on /two/front/image_raw/compressed (0 publishers)"
        listener.wait(
            listener.says("camera front", message, "/two/other_name"), "the second one's complaint"
        )
        assert not second
        assert robot.sent


def test_compressed_or_raw_mistaken_is_told_with_its_cure(node: Any, tmp_path: Path) -> None:
    content = robots.rig_content()
    for camera in content["cameras"]:
        camera["compressed"] = False
    rig = robots.write_rig(tmp_path / "rig.yaml", content)
    listener = Listener(node)
    with robots.Robot(node), occupancy_node(rig=rig):
        message = "/front/image_raw/compressed has 1 publisher: set compressed: true"
        listener.wait(listener.says("camera front", message), "the cure")


def test_simulated_time_that_nobody_publishes_is_told(node: Any, rig: str) -> None:
    listener = Listener(node)
    results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
    with robots.Robot(node) as robot, occupancy_node("-p", "use_sim_time:=true", rig=rig):
        message = "no time came on /clock (0 publishers): play the recording with --clock"
        listener.wait(listener.says("clock", message), "the cause")
        clock = node.create_publisher(Clock, "/clock", 10)

        def tick() -> None:
            stamp_ns = time.time_ns() + robot.clock_shift_ns
            clock.publish(Clock(clock=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)))

        timer = node.create_timer(0.02, tick)
        count = len(results)
        listener.wait(lambda: len(results) > count + 3, "results, now that time runs")
        listener.wait(listener.is_ok("state"), "an end of the complaint")
        node.destroy_timer(timer)
        node.destroy_publisher(clock)


def test_simulated_time_runs_and_jumps_back(node: Any, rig: str) -> None:
    """A recording with /clock: stamps of long ago, and a second pass."""
    listener = Listener(node)
    results = listener.listen(SemanticOccupancy, "/renderocc/occupancy")
    clock = node.create_publisher(Clock, "/clock", 10)
    with robots.Robot(node) as robot, occupancy_node("-p", "use_sim_time:=true", rig=rig):
        origin_ns = time.time_ns()
        robot.clock_shift_ns = 1_000_000_000_000 - origin_ns  # 1970

        def tick() -> None:
            stamp_ns = time.time_ns() + robot.clock_shift_ns
            clock.publish(Clock(clock=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)))

        timer = node.create_timer(0.02, tick)
        listener.wait(lambda: len(results) > 3, "results in simulated time")
        assert stamp_ns_of(results[-1].header.stamp) < 2_000_000_000_000
        newest_ns = stamp_ns_of(results[-1].header.stamp)
        robot.clock_shift_ns -= 100_000_000_000
        listener.wait(
            lambda: stamp_ns_of(results[-1].header.stamp) < newest_ns - 50_000_000_000,
            "results after the clock went back",
        )
        node.destroy_timer(timer)

"""Configurations of rviz2 and Foxglove: read back, against what their displays declare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from renderocc_ros.commands.rviz_config import rviz_config as command
from renderocc_ros.config import RigConfig
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.viewing.foxglove_layout import foxglove_layout
from renderocc_ros.viewing.rviz_config import rviz_config
from renderocc_ros.viewing.viewed_node import ViewedNode

GRID = VoxelGrid((-20.0, -30.0, -1.0), 0.25, (160, 240, 16))
RIG = RigConfig.model_validate(
    {
        "name": "odd",
        "base_frame": "trunk",
        "cameras": [
            {"name": "front", "image_topic": "front/image", "compressed": False},
            {"name": "left", "image_topic": "/abs/left", "info_topic": "~/left/info"},
        ],
    }
)
NODE = ViewedNode("/robot/eyes", RIG, GRID)

# Properties that the displays of rviz_default_plugins declare, of those that we write.
DISPLAY = {"Class", "Name", "Enabled", "Value"}
KNOWN = {
    "Grid": {"Cell Size", "Plane Cell Count", "Alpha", "Reference Frame"},
    "TF": {"Marker Scale", "Show Arrows", "Show Names"},
    "PointCloud2": {"Topic", "Style", "Size (m)", "Size (Pixels)", "Color Transformer", "Color"}
    | {"Position Transformer", "Decay Time"},
    "MarkerArray": {"Topic"},
    "Map": {"Topic", "Update Topic", "Alpha", "Color Scheme", "Draw Behind"},
    "Image": {"Topic"},
}
QOS = {"Value", "Depth", "History Policy", "Reliability Policy", "Durability Policy"}


def displays(node: ViewedNode) -> list[dict[str, Any]]:
    manager = yaml.safe_load(rviz_config(node))["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == node.rig.base_frame
    return list(manager["Displays"])


def test_every_display_has_properties_that_it_knows() -> None:
    for display in displays(NODE):
        package, _, kind = display["Class"].partition("/")
        assert package == "rviz_default_plugins"
        assert set(display) >= DISPLAY
        assert set(display) - DISPLAY <= KNOWN[kind]
        for name in {"Topic", "Update Topic"} & set(display):
            assert set(display[name]) == QOS
            assert display[name]["Reliability Policy"] in ("Reliable", "Best Effort")
            assert display[name]["History Policy"] == "Keep Last"
            assert display[name]["Durability Policy"] == "Volatile"


def test_rviz_follows_node_rig_and_voxels() -> None:
    by_name = {display["Name"]: display for display in displays(NODE)}
    voxels = by_name["Voxels"]
    assert (voxels["Style"], voxels["Color Transformer"]) == ("Boxes", "RGB8")
    assert voxels["Size (m)"] == 0.25
    topics = {name: each["Topic"]["Value"] for name, each in by_name.items() if "Topic" in each}
    assert topics == {
        "Voxels": "/robot/eyes/points",
        "Map over time": "/robot/eyes/map_points",
        "Voxels as markers": "/robot/eyes/markers",
        "Costmap": "/robot/eyes/costmap",
        "Obstacles": "/robot/eyes/obstacles",
        "front": "/robot/front/image",
        "left": "/abs/left/compressed",
    }
    assert by_name["Costmap"]["Update Topic"]["Value"] == "/robot/eyes/costmap_updates"
    assert by_name["front"]["Topic"]["Reliability Policy"] == "Best Effort"
    assert by_name["Grid, 10 m"]["Plane Cell Count"] == 6


def test_foxglove_follows_node_rig_and_voxels() -> None:
    layout = json.loads(foxglove_layout(NODE))
    assert set(layout) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    panels = layout["configById"]
    assert sorted(_leaves(layout["layout"])) == sorted(panels)
    assert {panel.partition("!")[0] for panel in panels} == {"3D", "Image", "DiagnosticSummary"}
    voxels = panels["3D!voxels"]
    assert (voxels["followMode"], voxels["followTf"]) == ("follow-pose", "trunk")
    shown = {topic for topic, each in voxels["topics"].items() if each["visible"]}
    assert shown == {"/robot/eyes/markers"}
    assert voxels["topics"]["/robot/eyes/points"]["colorField"] == "rgb"
    assert panels["Image!left"]["imageMode"] == {
        "imageTopic": "/abs/left/compressed",
        "calibrationTopic": "/robot/eyes/left/info",
    }
    assert panels["Image!front"]["imageMode"]["calibrationTopic"] == "/robot/front/camera_info"


def test_one_camera_makes_one_panel() -> None:
    rig = RIG.model_copy(update={"cameras": RIG.cameras[:1]})
    layout = json.loads(foxglove_layout(ViewedNode("/eyes", rig, GRID)))
    assert layout["layout"]["second"] == "Image!front"


@pytest.mark.parametrize(
    ("topic", "absolute"),
    [
        ("a/b", "/robot/a/b"),
        ("/a", "/a"),
        ("~/a", "/robot/eyes/a"),
        ("{node}/a", "/robot/eyes/a"),
        ("{ns}/a", "/robot/a"),
    ],
)
def test_topics_are_named_as_ros_names_them(topic: str, absolute: str) -> None:
    assert NODE.topic(topic) == absolute


def test_a_node_without_namespace() -> None:
    assert ViewedNode("/eyes", RIG, GRID).topic("a") == "/a"


@pytest.mark.parametrize("name", ["renderocc", "/", "/a/", "/a b", "/1a"])
def test_half_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="such as /renderocc"):
        ViewedNode(name, RIG, GRID)


def test_the_command_writes_both(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command)
    out, layout = tmp_path / "my.rviz", tmp_path / "my.json"
    arguments = ["--rig", "two_cameras", "--network", "r50", "--node", "/a/b"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(out), "--foxglove", str(layout)])
    assert done.exit_code == 0, done.output
    nodes = {"front", "rear", "Voxels"}
    shown = yaml.safe_load(out.read_text())["Visualization Manager"]["Displays"]
    assert nodes <= {display["Name"] for display in shown}
    assert next(d for d in shown if d["Name"] == "Voxels")["Size (m)"] == 0.4
    assert "/a/b/markers" in layout.read_text()
    nothing = CliRunner().invoke(app, arguments)
    assert isinstance(nothing.exception, ValueError)


def _leaves(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    assert set(tree) == {"direction", "first", "second", "splitPercentage"}
    return [leaf for side in ("first", "second") for leaf in _leaves(tree[side])]

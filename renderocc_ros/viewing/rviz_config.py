"""The configuration of rviz2 for a node.

Names and values are those that the displays declare (rviz_default_plugins, rviz_common); what a
file leaves out takes the display's default.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from renderocc_ros.viewing.viewed_node import ViewedNode

GRID_CELL_M = 10
OBSTACLE_PIXELS = 2
BEHIND_RAD = math.pi


def rviz_config(node: ViewedNode) -> str:
    """The text of an .rviz file: voxels as boxes of their own size, cameras, map, obstacles."""
    content = {
        "Panels": _panels(),
        "Visualization Manager": {
            "Class": "",
            "Displays": _displays(node),
            "Enabled": True,
            "Global Options": {
                "Background Color": "48; 52; 58",
                "Fixed Frame": node.rig.base_frame,
                "Frame Rate": 30,
            },
            "Name": "root",
            "Tools": [
                {"Class": f"rviz_default_plugins/{name}"}
                for name in ("MoveCamera", "Select", "FocusCamera", "Measure")
            ],
            "Transformation": {"Current": {"Class": "rviz_default_plugins/TF"}},
            "Value": True,
            "Views": {"Current": _view(node), "Saved": None},
        },
        "Window Geometry": _window(node),
    }
    head = (
        f"# rviz2 for the node {node.name}, rig '{node.rig.name}': renderocc rviz-config wrote it\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _displays(node: ViewedNode) -> list[dict[str, Any]]:
    costmap = _topic(node.topic("~/costmap"))
    cells = math.ceil(node.reach_m / GRID_CELL_M)
    return [
        _display("Grid", f"Grid, {GRID_CELL_M} m")
        | {"Cell Size": GRID_CELL_M, "Plane Cell Count": cells, "Alpha": 0.5}
        | {"Reference Frame": node.rig.base_frame},
        _display("TF", "TF") | {"Marker Scale": 2, "Show Arrows": False, "Show Names": True},
        _cloud("Voxels", _topic(node.topic("~/points")), enabled=True)
        | {"Style": "Boxes", "Size (m)": node.grid.resolution_m, "Color Transformer": "RGB8"},
        _cloud("Map over time", _topic(node.topic("~/map_points")), enabled=False)
        | {"Style": "Boxes", "Size (m)": node.grid.resolution_m, "Color Transformer": "RGB8"},
        _display("MarkerArray", "Voxels as markers", enabled=False)
        | {"Topic": _topic(node.topic("~/markers"))},
        _display("Map", "Costmap", enabled=False)
        | {"Alpha": 0.7, "Color Scheme": "costmap", "Draw Behind": True, "Topic": costmap}
        | {"Update Topic": costmap | {"Value": f"{costmap['Value']}_updates"}},
        _cloud("Obstacles", _topic(node.topic("~/obstacles")), enabled=False)
        | {"Style": "Points", "Size (Pixels)": OBSTACLE_PIXELS}
        | {"Color Transformer": "FlatColor", "Color": "255; 80; 60"},
        *(
            _display("Image", camera.name)
            | {"Topic": _topic(node.image_topic(camera), reliability="Best Effort")}
            for camera in node.rig.cameras
        ),
    ]


def _display(kind: str, name: str, enabled: bool = True) -> dict[str, Any]:
    plugin = f"rviz_default_plugins/{kind}"
    return {"Class": plugin, "Name": name, "Enabled": enabled, "Value": enabled}


def _cloud(name: str, topic: dict[str, Any], enabled: bool) -> dict[str, Any]:
    return _display("PointCloud2", name, enabled) | {
        "Position Transformer": "XYZ",
        "Decay Time": 0,
        "Topic": topic,
    }


def _topic(name: str, reliability: str = "Reliable") -> dict[str, Any]:
    return {
        "Value": name,
        "Depth": 2,
        "History Policy": "Keep Last",
        "Reliability Policy": reliability,
        "Durability Policy": "Volatile",
    }


def _view(node: ViewedNode) -> dict[str, Any]:
    """From behind and above."""
    return {
        "Class": "rviz_default_plugins/Orbit",
        "Name": "Current View",
        "Value": "Orbit (rviz)",
        "Target Frame": node.rig.base_frame,
        "Distance": 0.75 * node.reach_m,
        "Focal Point": {"X": 0.05 * node.reach_m, "Y": 0, "Z": 0},
        "Pitch": 0.75,
        "Yaw": BEHIND_RAD,
    }


def _panels() -> list[dict[str, Any]]:
    return [
        {
            "Class": "rviz_common/Displays",
            "Name": "Displays",
            "Property Tree Widget": {"Expanded": ["/Voxels1"], "Splitter Ratio": 0.5},
        },
        {"Class": "rviz_common/Views", "Name": "Views"},
        {"Class": "rviz_common/Time", "Name": "Time", "SyncMode": 0, "SyncSource": "Voxels"},
    ]


def _window(node: ViewedNode) -> dict[str, Any]:
    shown = {"collapsed": False}
    return {
        "Displays": shown,
        "Views": {"collapsed": True},
        "Time": dict(shown),
        **{camera.name: dict(shown) for camera in node.rig.cameras},
        "Hide Left Dock": False,
        "Hide Right Dock": True,
        "Width": 1848,
        "Height": 1016,
        "X": 60,
        "Y": 27,
    }

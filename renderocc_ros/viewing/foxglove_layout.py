"""A layout of Foxglove (and of Lichtblick, which reads the same) for a node."""

from __future__ import annotations

import json
from typing import Any

from renderocc_ros.viewing.viewed_node import ViewedNode

VOXELS, STATUS = "3D!voxels", "DiagnosticSummary!status"


def foxglove_layout(node: ViewedNode) -> str:
    """The text of a layout's .json: voxels in 3D, the cameras beside them, diagnostics below.

    Foxglove draws points as discs of some pixels, so the voxels are shown as markers, which know
    their own size; points, costmap and obstacles are there to be switched on.
    """
    cameras = {f"Image!{camera.name}": camera for camera in node.rig.cameras}
    images = {
        panel: {
            "imageMode": {
                "imageTopic": node.image_topic(camera),
                "calibrationTopic": node.topic(camera.camera_info_topic),
            }
        }
        for panel, camera in cameras.items()
    }
    content = {
        "configById": {
            VOXELS: _three_d(node),
            STATUS: {"topicToRender": "/diagnostics", "minLevel": 0, "sortByLevel": True},
            **images,
        },
        "globalVariables": {},
        "userNodes": {},
        "playbackConfig": {"speed": 1},
        "layout": {
            "direction": "row",
            "first": {
                "direction": "column",
                "first": VOXELS,
                "second": STATUS,
                "splitPercentage": 75,
            },
            "second": _column(list(cameras)),
            "splitPercentage": 70,
        },
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _three_d(node: ViewedNode) -> dict[str, Any]:
    points = {"colorMode": "rgb", "colorField": "rgb", "pointShape": "square", "pointSize": 4}
    obstacles = {"colorMode": "flat", "flatColor": "#ff503cff", "pointSize": 2}
    return {
        "cameraState": {
            "perspective": True,
            "distance": 0.75 * node.reach_m,
            "phi": 50,
            "thetaOffset": 90,  # from behind
            "targetOffset": [0, 0, 0],
            "target": [0, 0, 0],
            "targetOrientation": [0, 0, 0, 1],
            "fovy": 45,
            "near": 0.5,
            "far": 5000,
        },
        "followMode": "follow-pose",
        "followTf": node.rig.base_frame,
        "scene": {},
        "transforms": {},
        "layers": {},
        "topics": {
            node.topic("~/markers"): {"visible": True},
            node.topic("~/points"): {"visible": False, **points},
            node.topic("~/map_points"): {"visible": False, **points},
            node.topic("~/costmap"): {"visible": False, "colorMode": "costmap"},
            node.topic("~/obstacles"): {"visible": False, **obstacles},
        },
    }


def _column(panels: list[str]) -> Any:
    """Panels of equal height, one above the other."""
    if len(panels) == 1:
        return panels[0]
    return {
        "direction": "column",
        "first": panels[0],
        "second": _column(panels[1:]),
        "splitPercentage": 100 / len(panels),
    }

"""A live node as viewers are set up for it: its topics, its cameras, its voxels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from renderocc_ros.config import CameraConfig, RigConfig
from renderocc_ros.geometry import VoxelGrid

NODE = re.compile(r"(/[A-Za-z_]\w*)+", re.ASCII)


@dataclass(frozen=True)
class ViewedNode:
    """One node.

    Attributes:
        name: with its namespace, "/robot/renderocc".
        rig: its cameras and frames.
        grid: its network's voxels.
    """

    name: str
    rig: RigConfig
    grid: VoxelGrid

    def __post_init__(self) -> None:
        if not NODE.fullmatch(self.name):
            raise ValueError(
                f"node '{self.name}': give the whole name, such as /renderocc or /robot/renderocc "
                "(`ros2 node list` shows it)"
            )

    def topic(self, name: str) -> str:
        """The absolute name of a topic that the node calls ``name``."""
        namespace, _, own_name = self.name.rpartition("/")
        name = name.replace("{node}", own_name)
        name = re.sub(r"\{(ns|namespace)\}", namespace or "/", name)
        if name.startswith("~"):
            return self.name + name[1:]
        return name if name.startswith("/") else f"{namespace}/{name}"

    def image_topic(self, camera: CameraConfig) -> str:
        """Where the images of a camera are, sent as the rig says."""
        return self.topic(camera.transport_topic)

    @property
    def reach_m(self) -> float:
        """The longer side of the voxels' box seen from above, metres."""
        return max(self.grid.size[:2]) * self.grid.resolution_m

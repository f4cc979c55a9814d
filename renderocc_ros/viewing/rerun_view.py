"""Frames in the Rerun viewer, or in an .rrd file that it opens (extra ``view``)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import rerun as rr
import rerun.blueprint as rrb

from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.viewing.view_frame import ViewFrame
from renderocc_ros.viewing.viewer_process import LOOPBACK, open_viewer
from renderocc_ros.viewing.voxel_surface import visible_cells

EGO = "world/ego"
LIDAR = f"{EGO}/lidar"
TRUTH = f"{EGO}/truth"
JPEG_QUALITY = 85
FRUSTUM_M = 2.0
LIDAR_COLOUR, LIDAR_DOTS = (255, 150, 30), rr.Radius.ui_points(1.5)
BACKGROUND = (221, 225, 231)


class RerunView:
    """Logs frames on the timelines "time" and "frame".

    Prediction and truth are entities of their own under ``world/ego``, with their classes below:
    the eye beside each in the viewer's list shows and hides it. Truth starts hidden where there is
    a prediction.

    Args:
        save: an .rrd file to write; None opens a window.
        listen: address that the window's viewer takes frames on.

    Raises:
        ValueError: a window is asked for where there is no display.
    """

    def __init__(self, save: Path | None = None, listen: str = LOOPBACK) -> None:
        if save is None and not has_display():
            raise ValueError(
                "there is no display here: write a file with --save drive.mp4 (.gif, .png), or "
                "--save drive.rrd and open it elsewhere with 'rerun drive.rrd'"
            )
        rr.set_strict_mode(True)  # what cannot be logged is an error, not a warning
        self._recording = rr.RecordingStream("renderocc")
        if save is None:
            self._recording.connect_grpc(open_viewer(listen))
        else:
            self._recording.save(save)
        self._frames = 0
        self._there: set[str] = set()
        self._log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)

    def add(self, frame: ViewFrame) -> bool:
        """Log a frame; True: it takes more."""
        if not self._frames:
            self._recording.send_blueprint(_blueprint(frame))
        self._recording.set_time("frame", sequence=self._frames)
        self._recording.set_time("time", timestamp=np.datetime64(frame.stamp_ns, "ns"))
        self._frames += 1
        before, self._there = self._there, set()
        self._pose(frame)
        for name, volume in frame.volumes.items():
            self._voxels(f"{EGO}/{name}", volume)
        if frame.lidar_m is not None:
            points = rr.Points3D(frame.lidar_m, radii=LIDAR_DOTS, colors=LIDAR_COLOUR)
            self._log(LIDAR, points)
        for posed in frame.cameras.images if frame.cameras else ():
            if posed is not None:
                self._camera(posed)
        for gone in before - self._there:  # or the last one would stay in sight
            self._recording.log(gone, rr.Clear(recursive=False))
        return True

    def close(self) -> None:
        """Write what is still under way."""
        self._recording.flush()
        self._recording.disconnect()

    def _log(self, entity: str, content: object, static: bool = False) -> None:
        self._recording.log(entity, content, static=static)
        if not static:
            self._there.add(entity)

    def _pose(self, frame: ViewFrame) -> None:
        odom_from_ego = frame.cameras.odom_from_ego if frame.cameras else None
        if odom_from_ego is not None:
            self._log(
                EGO,
                rr.Transform3D(
                    translation=odom_from_ego.translation, mat3x3=odom_from_ego.rotation
                ),
            )

    def _voxels(self, entity: str, volume: SemanticOccupancy) -> None:
        """Each class is an entity: it can be hidden, and has its name when pointed at."""
        cells = visible_cells(volume)
        labels = volume.labels[tuple(cells.T)]
        centres = volume.grid.centres(cells).astype(np.float32)
        half = volume.grid.resolution_m / 2
        for entry in volume.class_set.classes:
            inside = centres[labels == entry.id]
            if len(inside):
                boxes = rr.Boxes3D(
                    centers=inside,
                    half_sizes=np.full_like(inside, half),
                    colors=entry.colour,
                    fill_mode="solid",
                )
                self._log(f"{entity}/{entry.name}", boxes)

    def _camera(self, posed: PosedImage) -> None:
        entity = camera_entity(posed.name)
        pose, model = posed.ego_from_camera, posed.model
        self._log(entity, rr.Transform3D(translation=pose.translation, mat3x3=pose.rotation))
        pinhole = rr.Pinhole(
            image_from_camera=model.intrinsics,
            resolution=(model.width, model.height),
            image_plane_distance=FRUSTUM_M,
        )
        self._log(entity, pinhole)
        self._log(entity, rr.Image(posed.pixels).compress(jpeg_quality=JPEG_QUALITY))


def has_display() -> bool:
    """Whether a window can open."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def camera_entity(name: str) -> str:
    """Where a camera of this name is logged."""
    return f"{EGO}/cameras/{name}"


def _blueprint(first: ViewFrame) -> rrb.Blueprint:
    """Voxels around the robot on the left, each camera on the right, time below."""
    hidden = {} if first.prediction is None else {TRUTH: rrb.EntityBehavior(visible=False)}
    voxels = rrb.Spatial3DView(
        origin=EGO, name="around the robot", overrides=hidden, background=BACKGROUND
    )
    names = first.cameras.names if first.cameras else ()
    if not names:
        return rrb.Blueprint(voxels, collapse_panels=True)
    images = [
        rrb.Spatial2DView(origin=camera_entity(name), contents=["$origin/**", LIDAR], name=name)
        for name in names
    ]
    grid = rrb.Grid(*images, grid_columns=min(len(images), 2))
    return rrb.Blueprint(
        rrb.Horizontal(voxels, grid, column_shares=[3, 2]),
        rrb.BlueprintPanel(state="expanded"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed"),
    )

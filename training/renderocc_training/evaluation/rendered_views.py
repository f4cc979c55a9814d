"""The field as each camera would see it, beside 2D labels: scores that need no 3D truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.geometry import CameraModel, VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.rendering import Rays, render_rays
from renderocc_ros.rendering.ray_sampling import sample_uniform
from renderocc_ros.rig.camera_set import PosedImage
from renderocc_ros.rig.raw_images import raw_rows
from renderocc_training.evaluation.stamped_topic import StampedTopic
from renderocc_training.evaluation.view_scores import DepthSums, depth_sums
from renderocc_training.evaluation.voxel_scores import Counts, confusion_matrix
from renderocc_training.recording.bag_reader import BagReader

VIEW_WIDTH = 176  # columns of a rendered view: about two per voxel at 40 m
OPAQUE = 0.5  # below this opacity a ray has met nothing
LABEL_TOLERANCE_NS = 1_000_000
MILLIMETRES = ("16UC1", "mono16")


@dataclass(frozen=True, eq=False)
class View:
    """A field seen by a camera, on a lattice of its pixels.

    Attributes:
        columns, rows: (W,), (H,) pixel coordinates of the lattice.
        range_m: (H, W) expected distance along the ray; what passes through counts at ``far_m``.
        near_m, far_m: (H, W) where the ray enters and leaves the grid; 0 where it never does, or
            where no ray of the lens meets the pixel.
        along_axis: (H, W) cosine of the angle between ray and optical axis; 0 without a ray.
        labels: (H, W) uint8 class, free where the ray meets nothing.
    """

    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    range_m: NDArray[np.float32]
    near_m: NDArray[np.float32]
    far_m: NDArray[np.float32]
    along_axis: NDArray[np.float32]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ViewLabels:
    """Labels of one image, each (H, W) or None: metres along the optical axis, and class ids."""

    depth_m: NDArray[np.float32] | None
    classes: NDArray[np.uint8] | None


def render_view(
    field: OccupancyField, grid: VoxelGrid, posed: PosedImage, free_id: int, threshold: float
) -> View:
    """Render the field from a camera of its own set.

    Args:
        field: density (1, X, Y, Z) and semantics (1, K, X, Y, Z), in the ego frame of the set.
        posed: the camera; its image is not looked at.
        threshold: opacity above which a cell is occupied.
    """
    model = posed.model
    stride = max(1, round(model.width / VIEW_WIDTH))
    columns = np.arange(stride // 2, model.width, stride)
    rows = np.arange(stride // 2, model.height, stride)
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    in_camera = model.rays(pixels.astype(np.float64))
    has_ray = np.isfinite(in_camera).all(axis=1)  # the dark rim of a fisheye sees nothing
    in_camera = in_camera[has_ray]
    device = field.density.device
    direction = torch.as_tensor(in_camera @ posed.ego_from_camera.rotation.T).float().to(device)
    origin = torch.tensor(posed.ego_from_camera.translation).float().to(device)
    rays = Rays(
        origin.expand_as(direction),
        direction,
        torch.zeros(len(direction), dtype=torch.long, device=device),
    )
    with torch.inference_mode():
        samples = sample_uniform(grid, rays.origin, direction, grid.resolution_m / 2)
        classes = field.semantics.float().softmax(dim=1).permute(0, 2, 3, 4, 1).contiguous()
        density = field.density.float()
        seen = render_rays(grid, density, classes, rays, samples, threshold=threshold)
        best = seen.classes.argmax(dim=1)
        labels = torch.where(seen.opacity >= OPAQUE, best, free_id).to(torch.uint8)

    def image(values: Any, elsewhere: float) -> NDArray[Any]:
        whole = np.full(len(pixels), elsewhere, values.dtype)
        whole[has_ray] = values
        return whole.reshape(len(rows), len(columns))

    return View(
        columns,
        rows,
        image(seen.range_m.cpu().numpy(), 0),
        image(samples.near_m.cpu().numpy(), 0),
        image(samples.far_m.cpu().numpy(), 0),
        image(in_camera[:, 2].astype(np.float32), 0),
        image(labels.cpu().numpy(), free_id),
    )


def score_view(view: View, labels: ViewLabels, classes: ClassSet) -> tuple[DepthSums, Counts]:
    """Compare a view with its labels.

    Depth counts where the labelled surface lies inside the grid. Classes count there too, or
    wherever a ray enters the grid if no depth is known; and at sky, which must be free.
    """
    lattice = np.ix_(view.rows, view.columns)
    within = view.far_m > 0
    sums = DepthSums()
    if labels.depth_m is not None:
        ahead = np.where(view.along_axis > 0.05, view.along_axis, np.nan)
        label_m = labels.depth_m[lattice] / ahead
        within = (label_m > view.near_m) & (label_m < view.far_m)
        sums = depth_sums(view.range_m, np.where(within, label_m, np.nan))
    side = len(classes) + 1
    confusion = np.zeros((side, side), np.int64)
    if labels.classes is not None:
        truth = labels.classes[lattice]
        sky = (truth == classes.free_id) & (view.far_m > 0)
        truth = np.where(within | sky, truth, IGNORE_ID).astype(np.uint8)
        confusion = confusion_matrix(truth, view.labels, classes)
    return sums, confusion


class BagLabels:
    """Label images of a bag, looked up by camera and stamp.

    Args:
        reader: an open bag.
        patterns: "depth" and "classes" to a topic in which {camera} stands for the camera's name
            in lower case.
        names: the rig's cameras.
    """

    def __init__(
        self, reader: BagReader, patterns: Mapping[str, str], names: tuple[str, ...]
    ) -> None:
        self._topics = {
            (kind, name): StampedTopic(reader, topic)
            for kind, pattern in patterns.items()
            for name in names
            if (topic := pattern.replace("{camera}", name.lower())) in reader.topics
        }

    def __bool__(self) -> bool:
        return bool(self._topics)

    def of(self, posed: PosedImage) -> ViewLabels:
        """The labels of an image, at the size of its model.

        Raises:
            ValueError: an encoding that is no label or depth image.
        """
        depth, classes = self._image("depth", posed), self._image("classes", posed)
        scale = 1000.0 if depth is not None and depth.dtype == np.uint16 else 1.0
        return ViewLabels(
            None if depth is None else depth.astype(np.float32) / np.float32(scale),
            None if classes is None else classes.astype(np.uint8),
        )

    def _image(self, kind: str, posed: PosedImage) -> NDArray[Any] | None:
        topic = self._topics.get((kind, posed.name))
        message = topic.nearest(posed.stamp_ns, LABEL_TOLERANCE_NS) if topic else None
        if message is None:
            return None
        formats = {"32FC1": np.float32} | dict.fromkeys(MILLIMETRES, np.uint16)
        pixels = raw_rows(message, np.dtype(formats.get(message.encoding, np.uint8)), 1)
        return at_size_of(pixels, posed.model)


def at_size_of(pixels: NDArray[Any], model: CameraModel) -> NDArray[Any]:
    """A label image (H, W) at the size of an image that was decoded at a fraction of its own.

    JPEGs are decoded at a whole fraction of their size, rounded up.

    Raises:
        ValueError: no such fraction of (H, W) is the model's size.
    """
    height, width = pixels.shape
    by = -(-height // model.height)
    if by < 1 or (-(-height // by), -(-width // by)) != (model.height, model.width):
        raise ValueError(
            f"a label image of {width}x{height} does not belong to an image that is "
            f"{model.width}x{model.height} now: labels are to have their image's size"
        )
    rows, columns = (
        np.minimum(np.arange(count) * by + by // 2, size - 1)
        for count, size in ((model.height, height), (model.width, width))
    )
    return np.asarray(pixels[np.ix_(rows, columns)])

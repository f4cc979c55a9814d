"""Input of one training step: current and past images, and the rays that supervise them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from renderocc_ros.class_set import IGNORE_ID
from renderocc_ros.network.camera_tensors import CameraTensors, PastCameras
from renderocc_ros.rendering import Rays
from renderocc_training.supervision.rays.ray_batch import RayBatch

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class CameraViews:
    """The images of one instant, as the network takes them; N cameras.

    Attributes:
        images: (N, 3, H, W) float32, normalised.
        intrinsics: (N, 3, 3) float32 of these images.
        ego_from_camera: (N, 4, 4) float32: the optical frame at its own stamp to the ego frame of
            this instant.
        valid: (N,) bool.
    """

    images: Floats
    intrinsics: Floats
    ego_from_camera: Floats
    valid: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """One key frame with its labels.

    Attributes:
        token: names the sample in reports.
        views: the cameras now.
        past: the cameras at earlier instants, newest first, each in its own ego frame.
        past_from_current: (F, 4, 4) float32, from the current ego frame to each past one.
        rays: exactly the budget of labelled rays in the current ego frame.
        depth_m: (N, h, w) float32 z-depth of the nearest label in each feature pixel, NaN where
            there is none: supervises the lifting.
        image_class: (N, h, w) uint8 class of that label, ``IGNORE_ID`` where unknown.
        votes: (X, Y, Z) uint8 labels voted by rays, ``IGNORE_ID`` where unknown; None if not used.
        truth: (X, Y, Z) uint8 3D labels, ``IGNORE_ID`` where not visible; None if not used.
    """

    token: str
    views: CameraViews
    past: tuple[CameraViews, ...]
    past_from_current: Floats
    rays: RayBatch
    depth_m: Floats
    image_class: NDArray[np.uint8]
    votes: NDArray[np.uint8] | None = None
    truth: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class RayTensors:
    """The rays of B samples, R each; see ``RayBatch`` for the columns.

    Attributes:
        rays: B·R rays, sample by sample.
        start_m, range_m: (B, R) float32.
        class_id: (B, R) int64.
        valid: (B, R) bool.
    """

    rays: Rays
    start_m: Tensor
    range_m: Tensor
    class_id: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> RayTensors:
        """The same on another device."""
        rays = Rays(*(getattr(self.rays, field.name).to(device) for field in fields(Rays)))
        rest = (getattr(self, f.name).to(device) for f in fields(self)[1:])
        return RayTensors(rays, *rest)


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """B samples as tensors.

    Attributes:
        tokens: their names.
        current, past: what the network takes.
        rays: the labelled rays of every sample.
        depth_m: (B, N, h, w).
        image_class: (B, N, h, w) int64.
        votes, truth: (B, X, Y, Z) int64, or None.
    """

    tokens: tuple[str, ...]
    current: CameraTensors
    past: tuple[PastCameras, ...]
    rays: RayTensors
    depth_m: Tensor
    image_class: Tensor
    votes: Tensor | None
    truth: Tensor | None

    def to(self, device: torch.device) -> TrainingBatch:
        """The same on another device."""
        return replace(
            self,
            current=self.current.to(device),
            past=tuple(
                PastCameras(p.cameras.to(device), p.past_from_current.to(device)) for p in self.past
            ),
            rays=self.rays.to(device),
            depth_m=self.depth_m.to(device),
            image_class=self.image_class.to(device),
            votes=None if self.votes is None else self.votes.to(device),
            truth=None if self.truth is None else self.truth.to(device),
        )


def collate(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Stack samples.

    Raises:
        ValueError: samples differ in cameras, frames, budget, or in which labels they have.
    """
    shapes = {(s.views.images.shape, len(s.past), len(s.rays)) for s in samples}
    if len(shapes) != 1:
        raise ValueError(
            f"samples {[s.token for s in samples]} differ in images, past frames or rays: {shapes}"
        )
    return TrainingBatch(
        tokens=tuple(sample.token for sample in samples),
        current=_stack_views([sample.views for sample in samples]),
        past=tuple(
            PastCameras(
                _stack_views([sample.past[frame] for sample in samples]),
                torch.from_numpy(np.stack([s.past_from_current[frame] for s in samples])),
            )
            for frame in range(len(samples[0].past))
        ),
        rays=_stack_rays([sample.rays for sample in samples]),
        depth_m=torch.from_numpy(np.stack([sample.depth_m for sample in samples])),
        image_class=torch.from_numpy(
            np.stack([sample.image_class for sample in samples]).astype(np.int64)
        ),
        votes=_stack_volumes([sample.votes for sample in samples], "votes"),
        truth=_stack_volumes([sample.truth for sample in samples], "truth"),
    )


def _stack_views(views: Sequence[CameraViews]) -> CameraTensors:
    stacked = (
        torch.from_numpy(np.stack([getattr(view, field.name) for view in views]))
        for field in fields(CameraViews)
    )
    return CameraTensors(*stacked)


def _stack_rays(batches: Sequence[RayBatch]) -> RayTensors:
    rays, shape = RayBatch.concatenate(batches), (len(batches), len(batches[0]))
    volume = torch.arange(shape[0]).repeat_interleave(shape[1])
    return RayTensors(
        Rays(torch.from_numpy(rays.origin), torch.from_numpy(rays.direction), volume),
        torch.from_numpy(rays.start_m).view(shape),
        torch.from_numpy(rays.range_m).view(shape),
        torch.from_numpy(rays.class_id.astype(np.int64)).view(shape),
        torch.from_numpy(rays.valid).view(shape),
    )


def _stack_volumes(volumes: Sequence[NDArray[np.uint8] | None], name: str) -> Tensor | None:
    present = [volume for volume in volumes if volume is not None]
    if not present:
        return None
    if len(present) < len(volumes):
        raise ValueError(f"{len(volumes) - len(present)} samples of a batch lack {name}")
    return torch.from_numpy(np.stack(present).astype(np.int64))


def ignore_unseen(labels: NDArray[np.uint8], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """3D labels with ``IGNORE_ID`` where no camera sees: what is hidden must not be punished."""
    return np.where(seen, labels, np.uint8(IGNORE_ID))

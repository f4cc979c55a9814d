"""The labels of one sample: rays of its own and of auxiliary frames, and what they vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_training.recipe import RayConfig
from renderocc_training.sequences.model import CameraImage, Frame, RecordedSequence
from renderocc_training.supervision.class_weights import published_counts
from renderocc_training.supervision.labels.cache import FrameLabels, LabelStore
from renderocc_training.supervision.rays.auxiliary import (
    BoxStates,
    auxiliary_frames,
    box_states,
    follows_box,
    moved_along,
    silent_through_boxes,
)
from renderocc_training.supervision.rays.ray_batch import RayBatch, rays_of_pixels
from renderocc_training.supervision.rays.weighted_sampling import (
    drawn,
    frame_weights,
    paper_class_weights,
    ray_weights,
    tempered_class_weights,
)

MAX_WEIGHT = 1e6


@dataclass(frozen=True, eq=False)
class FrameRays:
    """Labels of one frame on their way into a sample.

    Attributes:
        frame: where they come from.
        labels: of all its cameras.
        states: of the boxes between this frame and the sample's own.
        weight: (P,) chance to be drawn by frame and motion alone.
    """

    frame: Frame
    labels: FrameLabels
    states: BoxStates
    weight: NDArray[np.float32]


class SampleLabels:
    """Collects the labelled rays of samples.

    Args:
        store: labels of single frames.
        class_set: says which classes move.
        config: budget, auxiliary frames and weights of the recipe.
    """

    def __init__(self, store: LabelStore, class_set: ClassSet, config: RayConfig) -> None:
        self.store, self.class_set, self.config = store, class_set, config

    def frames(self, sequence: RecordedSequence, frame: Frame) -> list[FrameRays]:
        """The frame's own labels first, then those of its auxiliary frames."""
        others = auxiliary_frames(sequence, frame.number, self.config.auxiliary_frames)
        return [self._frame_rays(sequence, frame, each) for each in (frame, *others)]

    def draw(
        self,
        sequence: RecordedSequence,
        frame: Frame,
        parts: Sequence[FrameRays],
        random: np.random.Generator,
    ) -> RayBatch:
        """Exactly the budget of rays in the frame's ego frame; weighted before they are made."""
        class_id = np.concatenate([part.labels.labels.class_id for part in parts])
        by_frame = np.concatenate([part.weight for part in parts])
        weight = ray_weights(class_id, self._class_weights(class_id), by_frame)
        weight = np.minimum(weight, MAX_WEIGHT)
        chosen = drawn(weight, self.config.budget, random)
        ends = np.cumsum([len(part.labels) for part in parts])
        batches, start = [], 0
        for part, end in zip(parts, ends, strict=True):
            mine = chosen[(chosen >= start) & (chosen < end)]
            rays = self._moved_rays(sequence, frame, part, mine - start, weight[mine])
            batches.append(self._silenced(sequence, frame, part, rays))
            start = end
        rays = RayBatch.concatenate(batches)
        return RayBatch.concatenate([rays, RayBatch.padding(self.config.budget - len(rays))])

    def all_rays(
        self, sequence: RecordedSequence, frame: Frame, parts: Sequence[FrameRays]
    ) -> RayBatch:
        """Every ray that may be drawn."""
        return self.voting_rays(sequence, frame, parts, sum(len(part.labels) for part in parts))[1]

    def voting_rays(
        self, sequence: RecordedSequence, frame: Frame, parts: Sequence[FrameRays], traced: int
    ) -> tuple[RayBatch, RayBatch]:
        """Every ray that may be drawn, for where it ends, and about ``traced`` of them, drawn
        evenly, for what they pass."""
        usable = [np.flatnonzero(part.weight > 0) for part in parts]
        share = traced / max(sum(len(each) for each in usable), 1)
        random = np.random.default_rng(0)
        hitting, followed = [], []
        for part, each in zip(parts, usable, strict=True):
            rays = self._moved_rays(sequence, frame, part, each, part.weight[each])
            hitting.append(rays)
            some = rays[random.random(len(each)) < share]
            followed.append(self._silenced(sequence, frame, part, some))
        return RayBatch.concatenate(hitting), RayBatch.concatenate(followed)

    def own_rays(self, sequence: RecordedSequence, frame: Frame) -> RayBatch:
        """Every ray of the frame itself."""
        return self.all_rays(sequence, frame, [self._frame_rays(sequence, frame, frame)])

    def _frame_rays(self, sequence: RecordedSequence, now: Frame, frame: Frame) -> FrameRays:
        labels = self.store.labels(sequence, frame)
        states = box_states(sequence.tracks, frame.stamp_ns, now.stamp_ns)
        weight = frame_weights(
            labels.labels.class_id,
            np.full(len(labels), frame is not now),
            self.class_set.moving_ids,
            self.config.auxiliary_weight,
            follows_box(labels.labels.instance, states),
        )
        return FrameRays(frame, labels, states, weight)

    def _moved_rays(
        self,
        sequence: RecordedSequence,
        now: Frame,
        part: FrameRays,
        chosen: NDArray[np.intp],
        weight: NDArray[np.float32],
    ) -> RayBatch:
        """Rays of chosen labels of a frame, in their order camera by camera."""
        labels = part.labels.of(chosen)
        batches = [
            self._camera_rays(sequence, now, part, camera, labels.of(labels.camera == place))
            for place, camera in enumerate(part.frame.cameras)
            if camera is not None
        ]
        return replace(RayBatch.concatenate(batches), weight=weight.astype(np.float32))

    def _silenced(
        self, sequence: RecordedSequence, now: Frame, part: FrameRays, rays: RayBatch
    ) -> RayBatch:
        """Rays that claim nothing where something else moved into their way."""
        if part.frame is now or not sequence.tracks:
            return rays
        elsewhere = part.states.moving | part.states.appeared
        ego_from_world = now.world_from_ego.inverse()
        return silent_through_boxes(rays, elsewhere, sequence.tracks, ego_from_world, now.stamp_ns)

    def _camera_rays(
        self,
        sequence: RecordedSequence,
        now: Frame,
        part: FrameRays,
        camera: CameraImage,
        labels: FrameLabels,
    ) -> RayBatch:
        ego_from_world = now.world_from_ego.inverse()
        is_auxiliary = part.frame is not now
        ego_from_camera = ego_from_world @ camera.world_from_sensor
        rays = rays_of_pixels(labels.labels, camera.model, ego_from_camera, is_auxiliary)
        if not is_auxiliary or not sequence.tracks:
            return rays
        return moved_along(
            rays, part.states, sequence.tracks, ego_from_world, camera.stamp_ns, now.stamp_ns
        )

    def _class_weights(self, class_id: NDArray[np.uint8]) -> NDArray[np.float32]:
        classes = len(self.class_set)
        known = class_id[class_id != IGNORE_ID]
        counts = np.bincount(known, minlength=classes)[:classes]
        if self.config.class_weights == "tempered":
            return tempered_class_weights(counts)
        if self.config.class_weights == "paper":
            published = published_counts(self.class_set)
            return paper_class_weights(counts if published is None else np.array(published))
        return np.ones(classes, dtype=np.float32)

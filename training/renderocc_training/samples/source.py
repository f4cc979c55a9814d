"""Sequences as a source of training samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.class_set import ClassSet
from renderocc_ros.network_config import NetworkConfig
from renderocc_training.recipe import RayConfig, Recipe
from renderocc_training.samples.images import FrameImages
from renderocc_training.samples.sample_labels import FrameRays, SampleLabels
from renderocc_training.samples.training_sample import CameraViews, TrainingSample
from renderocc_training.samples.truth import TruthFolder
from renderocc_training.sequences.model import Frame, RecordedSequence
from renderocc_training.supervision.labels.cache import LabelStore, read_arrays, write_arrays
from renderocc_training.supervision.labels.voxel_votes import count_votes, voted_labels
from renderocc_training.supervision.rays.ray_batch import RayBatch

NO_RAYS = RayBatch.padding(0)
VOTES_FORMAT = 3  # raise when the votes of the same rays come out differently


class TrainingSource:
    """Every key frame of some sequences is a sample.

    Args:
        sequences: auxiliary and past frames are looked for in the sample's own sequence alone.
        store: 2D labels; what is missing is made on the way.
        network: says the images' size, the grid, and how many past frames are wanted.
        class_set: the network's classes.
        recipe: budget, auxiliary frames, and which labels its losses need.
        truth: 3D labels; only for recipes that use them.

    Raises:
        ValueError: no frame, sequences of different numbers of cameras, or another number than the
            network takes, or a recipe that wants truth when there is none.
    """

    def __init__(
        self,
        sequences: Sequence[RecordedSequence],
        store: LabelStore,
        network: NetworkConfig,
        class_set: ClassSet,
        recipe: Recipe,
        truth: TruthFolder | None = None,
    ) -> None:
        counts = {sequence.name: len(sequence.camera_names) for sequence in sequences}
        if len(set(counts.values())) > 1:
            raise ValueError(
                f"sequences differ in their number of cameras: {counts}; train on one rig"
            )
        if network.cameras and counts and network.cameras not in counts.values():
            raise ValueError(
                f"the data set has {next(iter(counts.values()))} cameras, network '{network.name}' "
                f"takes {network.cameras}; copy its .yaml with the other number of cameras and "
                "give that as --network"
            )
        losses = recipe.losses
        self._wants_votes = bool(losses.votes or losses.votes_semantics or losses.unlabelled)
        self._wants_rays = bool(losses.query or losses.query_semantics or losses.render)
        self._truth = truth if losses.truth or losses.truth_semantics else None
        if (losses.truth or losses.truth_semantics) and truth is None:
            raise ValueError("the recipe's truth loss needs 3D labels: give their folder")
        self._places = [(sequence, frame) for sequence in sequences for frame in sequence.frames]
        if not self._places:
            raise ValueError("the data set holds no key frame to train on")
        self._parts, self._class_set = network.architecture, class_set
        self._grid = network.grid.build()
        self._images = FrameImages(network.image)
        self._labels = SampleLabels(store, class_set, recipe.rays)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def places(self) -> Sequence[tuple[RecordedSequence, Frame]]:
        """RecordedSequence and frame of every sample."""
        return self._places

    def sample(self, index: int, random: np.random.Generator) -> TrainingSample:
        """One key frame with the rays that were drawn for it, if any loss asks for rays."""
        sequence, frame = self._places[index]
        parts = self._labels.frames(sequence, frame) if self._wants_rays else None
        labels = parts[0].labels if parts else self._labels.store.labels(sequence, frame)
        past, past_from_current = self._past(sequence, frame)
        depth_m, image_class = self._images.nearest(frame, labels, self._parts.lifted_stride)
        return TrainingSample(
            token=frame.token,
            views=self._images.views(sequence, frame),
            past=past,
            past_from_current=past_from_current,
            rays=self._labels.draw(sequence, frame, parts, random) if parts else NO_RAYS,
            depth_m=depth_m,
            image_class=image_class,
            votes=self.votes(sequence, frame, parts) if self._wants_votes else None,
            truth=self._truth.labels(sequence, frame, self._grid) if self._truth else None,
        )

    def own_rays(self, index: int) -> RayBatch:
        """Every labelled ray of the sample's own frame."""
        return self._labels.own_rays(*self._places[index])

    def votes(
        self, sequence: RecordedSequence, frame: Frame, parts: Sequence[FrameRays] | None = None
    ) -> NDArray[np.uint8]:
        """(X, Y, Z) what all rays of the sample say about each voxel; kept on disk."""
        file, key = self._votes_file(sequence, frame), self._votes_key(sequence, frame)
        cached = read_arrays(file, key) if file else None
        if cached is not None:
            return cached["votes"]
        if parts is None:
            parts = self._labels.frames(sequence, frame)
        config = self._labels.config
        rays, followed = self._labels.voting_rays(sequence, frame, parts, config.traced)
        votes = count_votes(rays, self._grid, self._class_set, followed)
        labels = voted_labels(votes, self._class_set, *_rules(config))
        if file:
            file.parent.mkdir(exist_ok=True)
            write_arrays(file, key, {"votes": labels}, compress=True)
        return labels

    def _votes_file(self, sequence: RecordedSequence, frame: Frame) -> Path | None:
        folder = self._labels.store.folder
        if folder is None:
            return None
        offsets = self._labels.config.auxiliary_frames
        which = hashlib.sha256(f"{self._grid} {offsets} {sequence.name}".encode()).hexdigest()[:8]
        return folder / f"votes-{which}" / f"{frame.token}.npz"

    def _votes_key(self, sequence: RecordedSequence, frame: Frame) -> str:
        config = self._labels.config
        reach = max((abs(offset) for offset in config.auxiliary_frames), default=0)
        near = sequence.near(frame.number, reach)
        rules = (config.auxiliary_frames, config.traced, *_rules(config))
        parts = [str(VOTES_FORMAT), f"{self._grid}", f"{rules}", f"{self._class_set}"]
        parts += [self._labels.store.key(sequence, each) for each in near]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def _past(
        self, sequence: RecordedSequence, frame: Frame
    ) -> tuple[tuple[CameraViews, ...], NDArray[np.float32]]:
        """Earlier frames at multiples of the network's interval; nothing where there is none."""
        interval_s = self._parts.temporal.interval_s
        views, motions = [], []
        for count in range(1, self._parts.past_instants + 1):
            past = _frame_before(sequence, frame, count * interval_s, interval_s / 2)
            if past is None:
                views.append(self._images.nothing(len(sequence.camera_names)))
                motions.append(np.eye(4))
                continue
            views.append(self._images.views(sequence, past))
            motions.append((past.world_from_ego.inverse() @ frame.world_from_ego).matrix)
        return tuple(views), np.array(motions, dtype=np.float32).reshape(-1, 4, 4)


def _rules(config: RayConfig) -> tuple[int, float, float]:
    """How votes become labels; see ``voted_labels``."""
    return config.min_misses, config.min_hit_share, config.object_weight


def _frame_before(
    sequence: RecordedSequence, frame: Frame, seconds: float, tolerance_s: float
) -> Frame | None:
    """The earlier frame nearest to so many seconds ago; None if none is within the tolerance."""
    earlier = sequence.frames[: frame.number]
    wanted_ns = frame.stamp_ns - round(seconds * 1e9)
    if not earlier:
        return None
    nearest = min(earlier, key=lambda each: abs(each.stamp_ns - wanted_ns))
    return nearest if abs(nearest.stamp_ns - wanted_ns) <= tolerance_s * 1e9 else None

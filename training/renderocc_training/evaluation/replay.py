"""Every set of a recording through the predictor, scored on the way; no ROS, always the same."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from renderocc_ros.geometry import RigidTransform
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.occupancy.occ3d_files import Occ3dTruth
from renderocc_ros.occupancy.semantic_occupancy import SemanticOccupancy
from renderocc_ros.outside_data import DamagedFile
from renderocc_ros.prediction import Predictor
from renderocc_ros.rendering.camera_view import ViewRenderer
from renderocc_ros.rig.camera_set import CameraSet
from renderocc_ros.viewing.colours import view_colours
from renderocc_training.evaluation.bag_output import BagOutput
from renderocc_training.evaluation.frame_counts import FrameCounter, FrameCounts
from renderocc_training.evaluation.label_files import Mask
from renderocc_training.evaluation.rendered_views import BagLabels, rendered, score_view
from renderocc_training.evaluation.results import FrameResult, ResultsWriter
from renderocc_training.evaluation.summary import frame_scores
from renderocc_training.evaluation.truth_sources import NoTruth, TruthSource
from renderocc_training.evaluation.view_scores import DepthSums
from renderocc_training.evaluation.voxel_counts import VoxelCounts
from renderocc_training.evaluation.voxel_scores import Counts


@dataclass(frozen=True, eq=False)
class PublishedSet:
    """What the live node said of one set, and the cameras whose images it had for it."""

    occupancy: SemanticOccupancy
    cameras: tuple[str, ...]


Published = Callable[[int], PublishedSet | None]


@dataclass(frozen=True, eq=False)
class Source:
    """One recording to evaluate.

    Attributes:
        name: for people, and in tokens.
        sets: token and set, in order of time.
        truth: where its truth comes from.
        labels: its 2D labels; None for no scores of rendered views.
    """

    name: str
    sets: Iterable[tuple[str, CameraSet]]
    truth: TruthSource = field(default_factory=NoTruth)
    labels: BagLabels | None = None


@dataclass
class Agreement:
    """What the live node published beside what replay says of the same sets."""

    sets: int = 0
    sets_identical: int = 0
    voxels: int = 0
    voxels_different: int = 0

    def add(self, live: SemanticOccupancy, replayed: SemanticOccupancy) -> None:
        """Compare one set, label by label."""
        different = int((live.labels != replayed.labels).sum())
        self.sets += 1
        self.sets_identical += different == 0
        self.voxels += live.labels.size
        self.voxels_different += different


@dataclass
class Counted:
    """What was counted of some sources.

    Attributes:
        frames, counts, total, skipped: see ``results``.
        poses: source name to token to odom_from_ego.
    """

    total: FrameCounts
    frames: list[FrameResult] = field(default_factory=list)
    counts: dict[str, VoxelCounts] = field(default_factory=dict)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    poses: dict[str, dict[str, RigidTransform]] = field(default_factory=dict)

    def add(self, other: Counted) -> None:
        """What was counted of other sources, elsewhere."""
        self.total = self.total + other.total
        self.frames += other.frames
        self.counts |= other.counts
        self.skipped.update(other.skipped)
        self.poses |= other.poses


class Evaluation:
    """Runs sources through a predictor and keeps what was counted.

    Args:
        writer: takes each frame's files.
        mask: which voxels of the truth count.
        bag: takes the predictions as messages too.
        published: what the live node said of the set with this stamp, None where nothing: then
            only those sets are run, the node's words are scored, and ``agreement`` says whether
            the replay repeats them.

    Attributes:
        counted: of all sources so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        writer: ResultsWriter,
        mask: Mask,
        bag: BagOutput | None = None,
        published: Published | None = None,
    ) -> None:
        self._predictor, self._writer, self._mask = predictor, writer, mask
        self._bag, self._published = bag, published
        self.counted = Counted(FrameCounts.none(len(predictor.class_set)))
        self.agreement = Agreement() if published is not None else None

    def run(self, source: Source, advance: Callable[[int], None] = lambda stamp_ns: None) -> None:
        """Evaluate one recording; past frames of another one are forgotten first.

        Raises:
            ValueError: truth of another grid or other classes.
        """
        self._predictor.reset()
        counter = FrameCounter(self._mask)
        sets = iter(source.sets)
        while True:
            started_s = time.perf_counter()
            entry = next(sets, None)
            if entry is None:
                return
            decoded_ms = (time.perf_counter() - started_s) * 1e3
            self._frame(source, *entry, counter, decoded_ms)
            advance(entry[1].stamp_ns)

    def _frame(
        self,
        source: Source,
        token: str,
        camera_set: CameraSet,
        counter: FrameCounter,
        decoded_ms: float,
    ) -> None:
        live = self._published(camera_set.stamp_ns) if self._published is not None else None
        if self._published is not None and live is None:
            self.counted.skipped["sets", "not published by the live node"] += 1
            return
        if live is not None:  # an image that the node never got is none of its set here either
            kept = (r if r and r.name in live.cameras else None for r in camera_set.images)
            camera_set = replace(camera_set, images=tuple(kept))
        started_s = time.perf_counter()
        try:
            occupancy = self._predictor.predict(camera_set)
        except ValueError as error:
            self.counted.skipped["sets", f"prediction: {error}"] += 1
            return
        if not _is_finite(self._predictor.field):  # or all would count as free
            self.counted.skipped[
                "sets", "prediction: the model gives NaN or infinity; its weights?"
            ] += 1
            return
        predicted_ms = (time.perf_counter() - started_s) * 1e3
        latency = {
            "read and decode": decoded_ms,
            **self._predictor.timings_ms,
            "total": decoded_ms + predicted_ms,
        }
        if live is not None and self.agreement is not None:
            self.agreement.add(live.occupancy, occupancy)
            occupancy = live.occupancy
        pictures = {r.name: r.pixels for r in camera_set.images if r is not None}
        views = self._views(source, camera_set, pictures)
        truth, damage = None, ""
        try:
            truth = source.truth.truth(token, camera_set.stamp_ns)
        except DamagedFile as error:
            damage = str(error)
        counts = counter.count(occupancy, truth, camera_set.odom_from_ego, views)
        if camera_set.odom_from_ego is not None:
            self.counted.poses.setdefault(source.name, {})[token] = camera_set.odom_from_ego
        unscored = damage or _unscored(truth, counts)
        if unscored:
            self.counted.skipped["scores", unscored] += 1
        else:
            self.counted.counts[token] = counts.voxels
        self.counted.total = self.counted.total + counts
        self.counted.frames.append(
            FrameResult(
                token,
                source.name,
                camera_set.stamp_ns,
                camera_set.missing,
                latency,
                unscored,
                frame_scores(counts, self._predictor.class_set),
            )
        )
        self._writer.add(token, occupancy, truth, pictures, camera_set)
        if self._bag is not None:
            self._bag.add(occupancy, truth, camera_set)

    def _views(
        self,
        source: Source,
        camera_set: CameraSet,
        pictures: dict[str, NDArray[np.uint8]],
    ) -> tuple[DepthSums, Counts] | None:
        """Score rendered views; put them beside the images."""
        predictor, labels = self._predictor, source.labels
        field_ = predictor.field
        if labels is None or field_ is None:
            return None
        class_set = predictor.class_set
        renderer = ViewRenderer(field_, predictor.grid, predictor.threshold)
        nothing = FrameCounts.none(len(class_set))
        depth, confusion = nothing.depth, nothing.view_confusion
        for posed in camera_set.images:
            if posed is None:
                continue
            view = rendered(renderer, posed)
            sums, counted = score_view(view, labels.of(posed), posed.model, class_set)
            depth, confusion = depth + sums, confusion + counted
            coloured = zip(("depth", "classes"), view_colours(view, class_set), strict=True)
            pictures.update({f"{posed.name}.{kind}": part for kind, part in coloured})
        return depth, confusion


def _is_finite(field_: OccupancyField | None) -> bool:
    volumes = () if field_ is None else (field_.density, field_.semantics)
    return all(bool(volume.isfinite().all()) for volume in volumes)


def _unscored(truth: Occ3dTruth | None, counts: FrameCounts) -> str:
    if truth is None:
        return "no truth at its time"
    return "" if counts.scored else "the mask leaves no voxel to compare"


def skipped_as_json(skipped: Mapping[tuple[str, str], int]) -> list[dict[str, str | int]]:
    """Counts of what was left out, for a file."""
    return [
        {"what": what, "why": why, "count": count}
        for (what, why), count in sorted(skipped.items())
        if count
    ]

"""3D labels of samples: masked, and brought to the network's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from street_source import GRID, make_store, network_config, recipe

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.occupancy.grid_file import describe_grid
from renderocc_training.recipe import Recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.truth import TruthFolder, coarser
from renderocc_training.sequences.model import RecordedSequence


def test_truth_is_masked_and_brought_to_the_networks_grid(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet, tmp_path: Path
) -> None:
    fine = VoxelGrid(GRID.origin_m, 0.5, (96, 96, 12))
    random = np.random.default_rng(0)
    labels = np.where(random.random(fine.size) < 0.1, 4, 17).astype(np.uint8)
    seen = random.random(fine.size) < 0.9
    for frame in sequence.frames:
        folder = tmp_path / sequence.name / frame.token
        folder.mkdir(parents=True)
        np.savez(folder / "labels.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)
    content = recipe().model_dump()
    content["losses"] |= {"truth": 1.0, "truth_semantics": 1.0}
    source = TrainingSource(
        [sequence], make_store(mapping, occ3d, None), network_config(), occ3d,
        Recipe.model_validate(content), TruthFolder(tmp_path, fine, occ3d),
    )  # fmt: skip
    truth = source.sample(0, np.random.default_rng(0)).truth
    assert truth is not None and truth.shape == GRID.size
    for cell in random.integers(0, GRID.size, (300, 3)):
        part = tuple(slice(2 * i, 2 * i + 2) for i in cell)
        solid, visible = labels[part] != 17, seen[part]
        wanted = 4 if solid.any() else 17
        known = (solid & visible).any() if solid.any() else visible.all()
        assert truth[tuple(cell)] == (wanted if known else IGNORE_ID)
    (tmp_path / sequence.name / "frame2" / "labels.npz").unlink()
    with pytest.raises(ValueError, match="no 3D labels of frame2"):
        source.sample(2, np.random.default_rng(0))


def test_the_most_frequent_class_names_a_coarse_cell(occ3d: ClassSet) -> None:
    labels = np.full((2, 2, 2), 17, np.uint8)
    labels[0, 0, 0], labels[0, 0, 1], labels[0, 1, 0] = 4, 15, 15
    coarse, seen = coarser(labels, np.ones_like(labels, dtype=bool), 2, occ3d)
    assert coarse.item() == 15 and seen.item()


def test_what_is_there_without_a_class_is_not_free_when_cells_are_joined(occ3d: ClassSet) -> None:
    labels = np.full((2, 2, 4), 17, np.uint8)
    labels[0, 0, 0], labels[0, 0, 2], labels[1, 0, 2] = OCCUPIED_ID, OCCUPIED_ID, 4
    labels[1, 1, 0] = IGNORE_ID
    seen = np.zeros_like(labels, dtype=bool)
    seen[0, 0, 0] = True
    coarse, coarse_seen = coarser(labels, seen, 2, occ3d)
    assert coarse.ravel().tolist() == [OCCUPIED_ID, 4]
    assert coarse_seen.ravel().tolist() == [True, False]
    labels[0, 0, 0] = 17
    assert coarser(labels, seen, 2, occ3d)[0].ravel().tolist() == [IGNORE_ID, 4]


def test_grids_that_do_not_match_are_refused(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    other = VoxelGrid((-24.0, -24.0, -2.3), 0.5, (96, 96, 12))
    labels = np.full(other.size, 17, np.uint8)
    seen = np.ones(other.size, dtype=bool)
    np.savez(tmp_path / "frame0.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)
    with pytest.raises(ValueError, match="same box and a whole multiple"):
        TruthFolder(tmp_path, other, occ3d).labels(sequence, sequence.frames[0], GRID)


def test_a_truth_folder_says_its_own_grid(
    sequence: RecordedSequence, occ3d: ClassSet, tmp_path: Path
) -> None:
    folder = tmp_path / sequence.name / "frame0"
    folder.mkdir(parents=True)
    labels, seen = np.full(GRID.size, 4, np.uint8), np.ones(GRID.size, dtype=bool)
    np.savez(folder / "labels.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)
    describe_grid(folder.parent, GRID, "occ3d")
    truth = TruthFolder.open(tmp_path, occ3d)
    assert (truth.labels(sequence, sequence.frames[0], GRID) == 4).all()
    describe_grid(folder.parent, GRID, "mine")
    with pytest.raises(ValueError, match="classes of {'mine'}"):
        TruthFolder.open(tmp_path, occ3d)
    assert not (folder / "labels.npz").exists()  # it was of other classes


def test_real_truth_files_fit_the_nano_grid(
    occ3d: ClassSet, occ3d_truth: dict[str, np.ndarray]
) -> None:
    seen = occ3d_truth["mask_camera"].astype(bool)
    labels, visible = coarser(occ3d_truth["semantics"], seen, 2, occ3d)
    assert labels.shape == (100, 100, 8) and (labels < 17).sum() > 39092 / 8
    assert 0.05 < visible.mean() < 0.5

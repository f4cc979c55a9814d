"""From a drive on disk to samples: exact geometry, exact budget, labels that fit, finite losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from box_world import STREET

from renderocc_ros.class_set import IGNORE_ID, OCCUPIED_ID, ClassSet
from renderocc_ros.config import validate
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network.occupancy_field import OccupancyField
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.rig.image_preprocessing import target_model
from renderocc_training.dataset.frames import Drive
from renderocc_training.dataset.source import TrainingSource
from renderocc_training.dataset.training_sample import collate
from renderocc_training.dataset.truth import TruthFolder, coarser, describe_grid
from renderocc_training.labels.cache import LabelStore
from renderocc_training.labels.config import LabelConfig, open_store
from renderocc_training.labels.voxel_votes import count_votes, voted_labels
from renderocc_training.trainer.held_out import score_held_out
from renderocc_training.trainer.objective import Objective, Sealed
from renderocc_training.trainer.recipe import Recipe, load_recipe

BUDGET = 1500
GRID = VoxelGrid((-24.0, -24.0, -1.3), 1.0, (48, 48, 6))
BOXES = """
kind: boxes
categories: {vehicle.car: car, human: pedestrian, static.wall: manmade}
on_road: driveable_surface
off_road: other_flat
"""


def network_config(past_frames: int = 0) -> NetworkConfig:
    content = {
        "name": "small",
        "image": {"width": 160, "height": 64},
        "grid": {"origin_m": GRID.origin_m, "resolution_m": 1.0, "size": GRID.size},
        "architecture": {
            "kind": "lifted",
            "backbone": {
                "settings": {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1] * 4},
                "out_features": ["stage2", "stage3"],
            },
            "neck": {"channels": 16, "stride": 8},
            "depth": {"to_m": 30.0, "step_m": 1.0, "context_channels": 8, "hidden_channels": 16},
            "temporal": {"past_frames": past_frames},
            "encoder": {"channels": [16, 16], "out_channels": 8},
            "field": {"hidden_channels": 8},
        },
    }
    return validate(content, NetworkConfig, "small")


def recipe(**rays: Any) -> Recipe:
    content = load_recipe("default").model_dump()
    content["rays"] |= {"budget": BUDGET, "rendered": 200, "auxiliary_frames": (-1, 1), **rays}
    return Recipe.model_validate({**content, "precision": "32-true"})


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    return STREET.record(tmp_path_factory.mktemp("street"), frames=4)


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("mapping") / "boxes.yaml"
    file.write_text(BOXES)
    return file


def make_store(mapping: Path, occ3d: ClassSet, folder: Path | None) -> LabelStore:
    return open_store(LabelConfig(mapping=str(mapping)), occ3d, folder)


def make_source(
    drive: Drive, mapping: Path, occ3d: ClassSet, folder: Path | None = None, **options: Any
) -> TrainingSource:
    store = make_store(mapping, occ3d, folder)
    past = options.pop("past_frames", 0)
    wanted = options.pop("recipe", None) or recipe(**options)
    return TrainingSource([drive], store, network_config(past), occ3d, wanted)


def test_a_sample_has_what_the_trainer_takes(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    source = make_source(drive, mapping, occ3d)
    sample = source.sample(1, np.random.default_rng(0))
    assert len(source) == 4 and sample.token == "frame1"
    assert sample.views.images.shape == (2, 3, 64, 160) and sample.views.valid.all()
    assert sample.depth_m.shape == (2, 8, 20) and len(sample.rays) == BUDGET
    assert sample.rays.valid.all() and 0.2 < sample.rays.is_auxiliary.mean() < 0.8
    assert sample.past == () and sample.past_from_current.shape == (0, 4, 4)
    assert sample.votes is not None and sample.votes.shape == GRID.size and sample.truth is None


def test_images_and_calibration_are_those_of_the_rig(
    drive: Drive, mapping: Path, occ3d: ClassSet
) -> None:
    """Each camera stands where it was at its own stamp, in the ego frame of the sample's."""
    sample = make_source(drive, mapping, occ3d).sample(2, np.random.default_rng(0))
    frame = drive.frames[2]
    for place, camera in enumerate(frame.cameras):
        assert camera is not None
        pose = frame.world_from_ego.inverse() @ camera.world_from_camera
        assert np.allclose(sample.views.ego_from_camera[place], pose.matrix, atol=1e-5)
        target = target_model(camera.model, network_config().image)
        assert np.allclose(sample.views.intrinsics[place], target.intrinsics, atol=1e-4)


def test_depth_of_feature_pixels_is_the_nearest_labels(
    drive: Drive, mapping: Path, occ3d: ClassSet
) -> None:
    sample = make_source(drive, mapping, occ3d).sample(0, np.random.default_rng(0))
    frame = drive.frames[0]
    checked = 0
    for place, camera in enumerate(frame.cameras):
        assert camera is not None
        target = target_model(camera.model, network_config().image)
        for row, column in np.argwhere(np.isfinite(sample.depth_m[place])):
            edge = np.linspace(-0.5, 7.5, 25)  # the whole feature pixel, not pixel centres alone
            u, v = np.meshgrid(edge + column * 8, edge + row * 8)
            rays = target.rays(np.stack([u.ravel(), v.ravel()], axis=1))
            pose = camera.world_from_camera
            range_m, _ = STREET.cast(
                pose.translation, rays @ pose.rotation.T, camera.stamp_ns * 1e-9
            )
            depth_m = range_m * rays[:, 2]
            label = sample.depth_m[place, row, column]
            checked += 1
            assert label > 0.95 * depth_m.min() - 0.1
            assert label < 1.3 * np.median(depth_m[np.isfinite(depth_m)]) + 1.0
    assert checked > 150


def test_rays_end_on_surfaces_of_the_world(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    frame = drive.frames[1]
    rays = make_source(drive, mapping, occ3d).sample(1, np.random.default_rng(0)).rays
    ends = frame.world_from_ego.apply(rays.origin + rays.range_m[:, None] * rays.direction)
    distance = [np.abs(ends[:, 2])]
    for box in STREET.boxes:
        local = np.abs(box.world_from_box(frame.stamp_ns * 1e-9).inverse().apply(ends))
        outside = np.linalg.norm(np.maximum(local - np.array(box.size_m) / 2, 0), axis=1)
        within = np.maximum((np.array(box.size_m) / 2 - local).min(axis=1), 0)
        distance.append(outside + within)
    off = np.min(distance, axis=0)
    moved = (rays.instance >= 0) & (rays.instance <= 2) & ~rays.is_auxiliary
    assert (off[~moved] < 0.05).mean() > 0.99
    assert (off[moved] < 0.35).all()  # the object where it was when its camera fired


def test_the_same_seed_draws_the_same_sample(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    source = make_source(drive, mapping, occ3d)
    first, again, other = (source.sample(1, np.random.default_rng(s)).rays for s in (5, 5, 6))
    assert np.array_equal(first.range_m, again.range_m)
    assert not np.array_equal(first.range_m, other.range_m)


def test_rays_that_are_too_few_are_padded(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    rays = (
        make_source(drive, mapping, occ3d, budget=200_000).sample(0, np.random.default_rng(0)).rays
    )
    assert len(rays) == 200_000 and 5000 < rays.valid.sum() < 60_000


def test_rare_classes_are_drawn_more_often(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    shares = []
    for weights in ("none", "tempered"):
        source = make_source(drive, mapping, occ3d, class_weights=weights)
        rays = source.sample(1, np.random.default_rng(0)).rays
        shares.append((rays.class_id == occ3d.id_of("car")).mean())
    assert shares[1] > 1.3 * shares[0]


def test_votes_are_those_of_all_rays_and_kept_on_disk(
    drive: Drive, mapping: Path, occ3d: ClassSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(drive, mapping, occ3d, tmp_path)
    votes = source.sample(1, np.random.default_rng(0)).votes
    labels = source._labels
    frame = drive.frames[1]
    rays = labels.all_rays(drive, frame, labels.frames(drive, frame))
    assert np.array_equal(votes, voted_labels(count_votes(rays, GRID, occ3d), occ3d))

    def never(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr("renderocc_training.dataset.source.count_votes", never)
    again = make_source(drive, mapping, occ3d, tmp_path)
    assert np.array_equal(again.sample(1, np.random.default_rng(0)).votes, votes)
    with pytest.raises(AssertionError, match="counted again"):
        make_source(drive, mapping, occ3d, tmp_path, auxiliary_frames=(1,)).votes(drive, frame)


def test_all_rays_hit_and_the_traced_part_of_them_passes(
    drive: Drive, mapping: Path, occ3d: ClassSet
) -> None:
    labels, frame = make_source(drive, mapping, occ3d)._labels, drive.frames[1]
    parts = labels.frames(drive, frame)
    every = labels.all_rays(drive, frame, parts)
    hitting, passing = labels.voting_rays(drive, frame, parts, traced=len(every) // 4)
    assert 0.23 < len(passing) / len(every) < 0.27
    known = set(map(tuple, np.column_stack([every.direction, every.start_m])))
    assert known.issuperset(map(tuple, np.column_stack([passing.direction, passing.start_m])))
    all_votes = count_votes(every, GRID, occ3d)
    votes = count_votes(hitting, GRID, occ3d, passing)
    assert np.array_equal(votes.hits, all_votes.hits)
    assert np.array_equal(votes.hits_of_unknown, all_votes.hits_of_unknown)
    assert (votes.passes <= all_votes.passes).all()
    assert 0.2 < votes.passes.sum() / all_votes.passes.sum() < 0.3


def test_votes_find_walls_ground_and_cars(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    frame = drive.frames[1]
    votes = make_source(drive, mapping, occ3d).votes(drive, frame)
    truth = true_cells(drive, 1)
    occupied = votes != IGNORE_ID
    occupied &= votes != occ3d.free_id
    precision = truth[occupied].mean()
    free = votes == occ3d.free_id
    assert occupied.sum() > 300 and precision > 0.95
    # Rays to walls pass low over ground that no ray ends on: such a cell counts as free.
    assert free.sum() > 2000 and truth[free].mean() < 0.1
    car = STREET.boxes[0].world_from_box(frame.stamp_ns * 1e-9).translation
    index, inside = GRID.index_of(frame.world_from_ego.inverse().apply(car - [2.19, 0, 0]))
    assert inside and votes[tuple(index)] == occ3d.id_of("car")


def true_cells(drive: Drive, number: int) -> np.ndarray:
    """Cells that contain ground or surface of a box, found by dense points."""
    frame = drive.frames[number]
    x, y = np.meshgrid(np.arange(-50, 90, 0.1), np.arange(-60, 60, 0.1))
    points = [np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)]
    for box in STREET.boxes:
        half = np.array(box.size_m) / 2
        axes = [np.append(np.arange(-h, h, 0.1), h) for h in half]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        shell = (np.abs(np.abs(grid) - half) < 1e-9).any(axis=1)
        points.append(box.world_from_box(frame.stamp_ns * 1e-9).apply(grid[shell]))
    index, inside = GRID.index_of(frame.world_from_ego.inverse().apply(np.concatenate(points)))
    cells = np.zeros(GRID.size, dtype=bool)
    cells[tuple(index[inside].T)] = True
    return cells


def test_past_frames_are_those_before_and_none_at_the_start(
    drive: Drive, mapping: Path, occ3d: ClassSet
) -> None:
    source = make_source(drive, mapping, occ3d, past_frames=1)
    first, third = (source.sample(index, np.random.default_rng(0)) for index in (0, 2))
    assert not first.past[0].valid.any() and third.past[0].valid.all()
    second = source.sample(1, np.random.default_rng(0))
    assert np.array_equal(third.past[0].images, second.views.images)
    motion = drive.frames[1].world_from_ego.inverse() @ drive.frames[2].world_from_ego
    assert np.allclose(third.past_from_current[0], motion.matrix, atol=1e-5)
    batch = collate([first, third])
    assert batch.past[0].cameras.images.shape == (2, 2, 3, 64, 160)


def test_stereo_takes_one_more_past_frame_and_is_trained(
    drive: Drive, mapping: Path, occ3d: ClassSet
) -> None:
    content = network_config(past_frames=1).model_dump()
    content["architecture"]["depth"]["stereo"] = {"feature": "stage1"}
    config = validate(content, NetworkConfig, "stereo")
    source = TrainingSource([drive], make_store(mapping, occ3d, None), config, occ3d, recipe())
    samples = [source.sample(index, np.random.default_rng(0)) for index in (1, 2)]
    there = [[bool(past.valid.all()) for past in sample.past] for sample in samples]
    assert there == [[True, False], [True, True]]
    network = build_network(config, len(occ3d), seed=0)
    terms = Objective(network, occ3d, recipe())(
        Sealed(collate(samples)), torch.Generator().manual_seed(0)
    )
    torch.stack(list(terms.values())).sum().backward()
    trained = dict(network.named_parameters())["depth_head.match.0.weight"].grad
    assert trained is not None and trained.isfinite().all() and trained.abs().sum() > 0


@pytest.mark.parametrize("name", ["default", "paper"])
def test_losses_are_finite_and_reach_every_part(
    drive: Drive, mapping: Path, occ3d: ClassSet, name: str
) -> None:
    content = load_recipe(name).model_dump()
    content["rays"] |= {"budget": BUDGET, "rendered": 200, "auxiliary_frames": (-1, 1)}
    wanted = Recipe.model_validate({**content, "precision": "32-true"})
    source = make_source(drive, mapping, occ3d, recipe=wanted)
    network = build_network(network_config(), len(occ3d))
    objective = Objective(network, occ3d, wanted)
    samples = [source.sample(index, np.random.default_rng(0)) for index in (0, 3)]
    terms = objective(Sealed(collate(samples)), torch.Generator().manual_seed(0))
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())
    used = {term: value for term, value in wanted.losses.model_dump().items() if value}
    assert set(terms) == set(used)
    assert all(float(value) > 0 for term, value in terms.items() if term != "sky")


def test_a_missing_camera_is_masked(drive: Drive, mapping: Path, occ3d: ClassSet) -> None:
    lame = replace(drive.frames[1], cameras=(drive.frames[1].cameras[0], None))
    broken = replace(drive, frames=(drive.frames[0], lame, *drive.frames[2:]))
    sample = make_source(broken, mapping, occ3d).sample(1, np.random.default_rng(0))
    assert sample.views.valid.tolist() == [True, False] and (sample.views.images[1] == 0).all()
    assert np.isnan(sample.depth_m[1]).all() and sample.rays.valid.all()


def test_mistakes_are_named(drive: Drive, mapping: Path, occ3d: ClassSet, tmp_path: Path) -> None:
    store = make_store(mapping, occ3d, None)
    one_camera = replace(
        drive,
        name="other",
        camera_names=("front",),
        frames=tuple(replace(f, cameras=f.cameras[:1]) for f in drive.frames),
    )
    with pytest.raises(ValueError, match="differ in their number of cameras"):
        TrainingSource([drive, one_camera], store, network_config(), occ3d, recipe())
    with pytest.raises(ValueError, match="no key frame"):
        TrainingSource([], store, network_config(), occ3d, recipe())
    content = recipe().model_dump()
    content["losses"]["truth"] = 1.0
    with pytest.raises(ValueError, match="needs 3D labels"):
        TrainingSource([drive], store, network_config(), occ3d, Recipe.model_validate(content))
    camera = drive.frames[0].cameras[0]
    assert camera is not None
    lost = replace(camera, image=tmp_path / "gone.jpg")
    frame = replace(drive.frames[0], cameras=(lost, drive.frames[0].cameras[1]))
    source = make_source(replace(drive, frames=(frame,)), mapping, occ3d)
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        source.sample(0, np.random.default_rng(0))


def test_truth_is_masked_and_brought_to_the_networks_grid(
    drive: Drive, mapping: Path, occ3d: ClassSet, tmp_path: Path
) -> None:
    fine = VoxelGrid(GRID.origin_m, 0.5, (96, 96, 12))
    random = np.random.default_rng(0)
    labels = np.where(random.random(fine.size) < 0.1, 4, 17).astype(np.uint8)
    seen = random.random(fine.size) < 0.9
    for frame in drive.frames:
        folder = tmp_path / drive.name / frame.token
        folder.mkdir(parents=True)
        np.savez(folder / "labels.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)
    content = recipe().model_dump()
    content["losses"] |= {"truth": 1.0, "truth_semantics": 1.0}
    source = TrainingSource(
        [drive], make_store(mapping, occ3d, None), network_config(), occ3d,
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
    (tmp_path / drive.name / "frame2" / "labels.npz").unlink()
    with pytest.raises(ValueError, match="no 3D labels of frame2"):
        source.sample(2, np.random.default_rng(0))


def test_the_most_frequent_class_names_a_coarse_cell(occ3d: ClassSet) -> None:
    labels = np.full((2, 2, 2), 17, np.uint8)
    labels[0, 0, 0], labels[0, 0, 1], labels[0, 1, 0] = 4, 15, 15
    coarse, seen = coarser(labels, np.ones_like(labels, dtype=bool), 2, occ3d)
    assert coarse.item() == 15 and seen.item()


def test_what_is_there_without_a_class_is_not_free_when_cells_are_joined(occ3d: ClassSet) -> None:
    labels = np.full((2, 2, 4), 17, np.uint8)
    labels[0, 0, 0], labels[0, 0, 2], labels[1, 0, 2] = IGNORE_ID, IGNORE_ID, 4
    coarse, _ = coarser(labels, np.ones_like(labels, dtype=bool), 2, occ3d)
    assert coarse.ravel().tolist() == [IGNORE_ID, 4]


def test_grids_that_do_not_match_are_refused(drive: Drive, occ3d: ClassSet, tmp_path: Path) -> None:
    other = VoxelGrid((-24.0, -24.0, -2.3), 0.5, (96, 96, 12))
    labels = np.full(other.size, 17, np.uint8)
    seen = np.ones(other.size, dtype=bool)
    np.savez(tmp_path / "frame0.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)
    with pytest.raises(ValueError, match="same box and a whole multiple"):
        TruthFolder(tmp_path, other, occ3d).labels(drive, drive.frames[0], GRID)


def test_a_truth_folder_says_its_own_grid(drive: Drive, occ3d: ClassSet, tmp_path: Path) -> None:
    folder = tmp_path / drive.name / "frame0"
    folder.mkdir(parents=True)
    labels, seen = np.full(GRID.size, 4, np.uint8), np.ones(GRID.size, dtype=bool)
    np.savez(folder / "labels.npz", semantics=labels, mask_camera=seen, mask_lidar=seen)
    describe_grid(folder.parent, GRID, "occ3d")
    truth = TruthFolder.open(tmp_path, occ3d)
    assert (truth.labels(drive, drive.frames[0], GRID) == 4).all()
    describe_grid(folder.parent, GRID, "mine")
    with pytest.raises(ValueError, match="classes of {'mine'}"):
        TruthFolder.open(tmp_path, occ3d)


def test_real_truth_files_fit_the_nano_grid(
    occ3d: ClassSet, occ3d_truth: dict[str, np.ndarray]
) -> None:
    seen = occ3d_truth["mask_camera"].astype(bool)
    labels, visible = coarser(occ3d_truth["semantics"], seen, 2, occ3d)
    assert labels.shape == (100, 100, 8) and (labels < 17).sum() > 39092 / 8
    assert 0.05 < visible.mean() < 0.5


class Known(torch.nn.Module):
    """Says the same about the world whatever it sees."""

    def __init__(self, config: NetworkConfig, labels: np.ndarray, classes: int) -> None:
        super().__init__()
        self.config, self.grid = config, config.grid.build()
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        solid = torch.from_numpy((labels < classes) | (labels == OCCUPIED_ID))
        name = torch.from_numpy(np.where(labels < classes, labels, 0).astype(np.int64))
        logits = 20.0 * torch.nn.functional.one_hot(name, classes).movedim(-1, 0)
        self.field = OccupancyField(50.0 * solid[None].float(), logits[None])

    def field_and_depth(self, current: object, past: object) -> tuple[OccupancyField, torch.Tensor]:
        return self.field, torch.empty(0)


def test_held_out_scores_of_what_is_known(
    drive: Drive, mapping: Path, occ3d: ClassSet, tmp_path: Path
) -> None:
    source = make_source(drive.part(1, 2), mapping, occ3d)
    (place,) = source.places
    votes = source.votes(*place)
    config, free = network_config(), np.full(GRID.size, occ3d.free_id, np.uint8)
    exact = np.where(votes == OCCUPIED_ID, 15, votes)
    (tmp_path / drive.name).mkdir()
    np.savez(
        tmp_path / drive.name / "frame1.npz",
        semantics=exact,
        mask_camera=votes < 255,
        mask_lidar=votes < 255,
    )
    describe_grid(tmp_path / drive.name, GRID, "occ3d")
    networks = {
        "all": Known(config, exact, len(occ3d)),
        "nothing": Known(config, free, len(occ3d)),
    }
    scores = score_held_out(
        networks,
        source,
        occ3d,
        recipe(),
        TruthFolder.open(tmp_path, occ3d),  # type: ignore[arg-type]
    )
    assert scores["all"].votes_iou == 1 and scores["all"].truth_iou == scores["all"].truth_miou == 1
    # Rays that graze the ground meet the tops of its cells of one metre long before it.
    assert scores["all"].depth.abs_rel < 0.4 and scores["all"].ray_miou > 0.5
    assert scores["nothing"].votes_iou == 0 and scores["nothing"].depth.abs_rel > 0.5
    constant = scores["constant range"].depth
    own = source.own_rays(0)
    assert not own.is_auxiliary.any() and constant.pixels == scores["all"].depth.pixels
    inside = own.range_m[np.isfinite(own.range_m) & (own.range_m < 20)]
    near = np.abs(np.median(inside) / inside - 1).mean()
    assert constant.abs_rel == pytest.approx(near, rel=0.25)
    assert scores["all"].depth.abs_rel < constant.abs_rel

"""From a sequence to samples: exact geometry, exact budget, labels that fit, finite losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from box_world import GROUND, NOTHING, STREET
from street_source import BUDGET, GRID, make_source, make_store, network_config, recipe

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.config import validate
from renderocc_ros.geometry import CameraModel
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig
from renderocc_ros.rig.image_preprocessing import target_model
from renderocc_training.recipe import LossWeights, Recipe, load_recipe
from renderocc_training.samples.source import TrainingSource
from renderocc_training.samples.training_sample import collate
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.supervision.labels.voxel_votes import count_votes, voted_labels
from renderocc_training.supervision.rays.ray_batch import RayBatch
from renderocc_training.trainer.objective import Objective, Opaque


def test_a_sample_has_what_the_trainer_takes(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    source = make_source(sequence, mapping, occ3d)
    sample = source.sample(1, np.random.default_rng(0))
    assert len(source) == 4 and sample.token == "frame1"
    assert sample.views.images.shape == (2, 3, 64, 160) and sample.views.valid.all()
    assert sample.depth_m.shape == (2, 8, 20) and len(sample.rays) == BUDGET
    assert sample.rays.valid.all() and 0.2 < sample.rays.is_auxiliary.mean() < 0.8
    assert sample.past == () and sample.past_from_current.shape == (0, 4, 4)
    assert sample.votes is not None and sample.votes.shape == GRID.size and sample.truth is None


def test_no_ray_is_drawn_that_no_loss_asks_for(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    asked = recipe()
    lean = asked.model_copy(update={"losses": LossWeights(votes=1.0, lifting_depth=1.0)})
    store = make_store(mapping, occ3d, None)
    samples = []
    for plan in (asked, lean):
        source = TrainingSource([sequence], store, network_config(), occ3d, plan)
        samples.append(source.sample(1, np.random.default_rng(0)))
    assert len(samples[0].rays) == BUDGET and len(samples[1].rays) == 0
    assert np.array_equal(samples[0].depth_m, samples[1].depth_m, equal_nan=True)
    assert np.array_equal(samples[0].votes, samples[1].votes)
    network = build_network(network_config(), len(occ3d), seed=0)
    result = Objective(network, occ3d, lean)(Opaque(collate(samples[1:])), torch.Generator())
    assert set(result) == {"votes", "lifting_depth"}


def test_images_and_calibration_are_those_of_the_rig(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    """Each camera stands where it was at its own stamp, in the ego frame of the sample's."""
    sample = make_source(sequence, mapping, occ3d).sample(2, np.random.default_rng(0))
    frame = sequence.frames[2]
    for place, camera in enumerate(frame.cameras):
        assert camera is not None
        pose = frame.world_from_ego.inverse() @ camera.world_from_sensor
        assert np.allclose(sample.views.ego_from_camera[place], pose.matrix, atol=1e-5)
        target = target_model(camera.model, network_config().image)
        assert np.allclose(sample.views.intrinsics[place], target.intrinsics, atol=1e-4)


def test_depth_of_feature_pixels_is_the_nearest_labels(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    sample = make_source(sequence, mapping, occ3d).sample(0, np.random.default_rng(0))
    frame = sequence.frames[0]
    named = {"vehicle": "car", "human": "pedestrian", "static": "manmade"}
    class_of = {
        number: occ3d.id_of(named[box.category.split(".")[0]])
        for number, box in enumerate(STREET.boxes)
    } | {GROUND: occ3d.id_of("other_flat"), NOTHING: IGNORE_ID}
    checked = 0
    for place, camera in enumerate(frame.cameras):
        assert camera is not None
        target = target_model(camera.model, network_config().image)
        for row, column in np.argwhere(np.isfinite(sample.depth_m[place])):
            edge = np.linspace(-0.5, 7.5, 25)  # the whole feature pixel, not pixel centres alone
            u, v = np.meshgrid(edge + column * 8, edge + row * 8)
            rays = target.rays(np.stack([u.ravel(), v.ravel()], axis=1))
            pose = camera.world_from_sensor
            range_m, what = STREET.cast(
                pose.translation, rays @ pose.rotation.T, camera.stamp_ns * 1e-9
            )
            depth_m = range_m * rays[:, 2]
            label = sample.depth_m[place, row, column]
            there = set(what[np.abs(depth_m - label) < 0.05 * label + 0.1])
            named = sample.image_class[place, row, column]
            checked += 1
            assert not there or named in {class_of[each] for each in there}
            assert label > 0.95 * depth_m.min() - 0.1
            assert label < 1.3 * np.median(depth_m[np.isfinite(depth_m)]) + 1.0
    assert checked > 150
    assert (sample.image_class[np.isnan(sample.depth_m)] == IGNORE_ID).all()


def test_rays_end_on_surfaces_of_the_world(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    frame = sequence.frames[1]
    rays = make_source(sequence, mapping, occ3d).sample(1, np.random.default_rng(0)).rays
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


def test_the_same_seed_draws_the_same_sample(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    source = make_source(sequence, mapping, occ3d)
    first, again, other = (source.sample(1, np.random.default_rng(s)).rays for s in (5, 5, 6))
    assert np.array_equal(first.range_m, again.range_m)
    assert not np.array_equal(first.range_m, other.range_m)


@pytest.mark.parametrize("budget", [1, 700, 200_000])
def test_exactly_the_budget_is_drawn_from_the_rays_of_the_right_frames(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet, budget: int
) -> None:
    labels, frame = make_source(sequence, mapping, occ3d, budget=budget)._labels, sequence.frames[1]
    parts = labels.frames(sequence, frame)
    assert [part.frame.number for part in parts] == [1, 0, 2]
    rays = labels.draw(sequence, frame, parts, np.random.default_rng(0))
    every = labels.all_rays(sequence, frame, parts)
    assert len(rays) == budget and rays.valid.sum() == min(budget, len(every))
    assert (rays.weight[rays.valid] > 0).all() and (rays.weight[~rays.valid] == 0).all()

    def rows(batch: RayBatch) -> list[tuple[float, ...]]:
        columns = (batch.origin, batch.direction, batch.range_m, batch.class_id)
        return [tuple(row) for row in np.column_stack(columns)[batch.valid].tolist()]

    result = rows(rays)
    assert len(set(result)) == len(result) and set(rows(every)).issuperset(result)
    own = [
        (frame.world_from_ego.inverse() @ camera.world_from_sensor).translation
        for camera in frame.cameras
        if camera is not None
    ]
    off = np.linalg.norm(rays.origin[rays.valid][:, None] - own, axis=2).min(axis=1)
    assert ((off > 1e-3) == rays.is_auxiliary[rays.valid]).all()


def test_a_lens_that_gives_some_pixels_no_ray_leaves_them_out(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    """Points just inside the turning point of the distortion have a pixel, but it has no ray."""
    lens = CameraModel(
        320, 192, [[117, 0, 159.5], [0, 117, 95.5], [0, 0, 1]], "plumb_bob",
        (-0.37, 0.2, 0, 0, -0.1),
    )  # fmt: skip
    wide = tuple(
        replace(frame, cameras=tuple(replace(c, model=lens) for c in frame.cameras if c))
        for frame in sequence.frames
    )
    bent = replace(sequence, frames=wide)
    frame = bent.frames[1]
    source = make_source(bent, mapping, occ3d)
    labels = source._labels
    made = labels.store.labeller.label(bent, frame, wide[1].cameras[1])
    assert np.isnan(lens.rays(made.pixels)).any()
    parts = labels.frames(bent, frame)
    kept = parts[0].labels
    assert 2000 < (kept.camera == 1).sum() < len(made.range_m)
    assert np.isfinite(lens.rays(kept.labels.pixels)).all()
    rays = labels.draw(bent, frame, parts, np.random.default_rng(0))
    assert len(rays) == BUDGET and rays.valid.all() and (rays.weight > 0).all()
    assert source.votes(bent, frame).shape == GRID.size


def test_rare_classes_are_drawn_more_often(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    shares = []
    for weights in ("none", "tempered"):
        source = make_source(sequence, mapping, occ3d, class_weights=weights)
        rays = source.sample(1, np.random.default_rng(0)).rays
        shares.append((rays.class_id == occ3d.id_of("car")).mean())
    assert shares[1] > 1.3 * shares[0]


def test_votes_are_those_of_all_rays_and_kept_on_disk(
    sequence: RecordedSequence,
    mapping: Path,
    occ3d: ClassSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = make_source(sequence, mapping, occ3d, tmp_path)
    votes = source.sample(1, np.random.default_rng(0)).votes
    labels = source._labels
    frame = sequence.frames[1]
    rays = labels.all_rays(sequence, frame, labels.frames(sequence, frame))
    assert np.array_equal(votes, voted_labels(count_votes(rays, GRID, occ3d), occ3d))

    def never(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr("renderocc_training.samples.source.count_votes", never)
    again = make_source(sequence, mapping, occ3d, tmp_path)
    assert np.array_equal(again.sample(1, np.random.default_rng(0)).votes, votes)
    with pytest.raises(AssertionError, match="counted again"):
        make_source(sequence, mapping, occ3d, tmp_path, auxiliary_frames=(1,)).votes(
            sequence, frame
        )


def test_all_rays_hit_and_the_traced_part_of_them_passes(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    labels, frame = make_source(sequence, mapping, occ3d)._labels, sequence.frames[1]
    parts = labels.frames(sequence, frame)
    every = labels.all_rays(sequence, frame, parts)
    hitting, followed = labels.voting_rays(sequence, frame, parts, traced=len(every) // 4)
    assert 0.23 < len(followed) / len(every) < 0.27
    known = set(map(tuple, np.column_stack([every.direction, every.start_m])))
    assert known.issuperset(map(tuple, np.column_stack([followed.direction, followed.start_m])))
    all_votes = count_votes(every, GRID, occ3d)
    votes = count_votes(hitting, GRID, occ3d, followed)
    assert np.array_equal(votes.hits, all_votes.hits)
    assert np.array_equal(votes.hits_of_unknown, all_votes.hits_of_unknown)
    assert (votes.misses <= all_votes.misses).all()
    assert 0.2 < votes.misses.sum() / all_votes.misses.sum() < 0.3


def test_votes_find_walls_ground_and_cars(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    frame = sequence.frames[1]
    votes = make_source(sequence, mapping, occ3d).votes(sequence, frame)
    truth = true_cells(sequence, 1)
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


def true_cells(sequence: RecordedSequence, number: int) -> np.ndarray:
    """Cells that contain ground or surface of a box, found by dense points."""
    frame = sequence.frames[number]
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
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    source = make_source(sequence, mapping, occ3d, past_frames=1)
    first, third = (source.sample(index, np.random.default_rng(0)) for index in (0, 2))
    assert not first.past[0].valid.any() and third.past[0].valid.all()
    second = source.sample(1, np.random.default_rng(0))
    assert np.array_equal(third.past[0].images, second.views.images)
    motion = sequence.frames[1].world_from_ego.inverse() @ sequence.frames[2].world_from_ego
    assert np.allclose(third.past_from_current[0], motion.matrix, atol=1e-5)
    batch = collate([first, third])
    assert batch.past[0].cameras.images.shape == (2, 2, 3, 64, 160)


def test_stereo_takes_one_more_past_frame_and_is_trained(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    content = network_config(past_frames=1).model_dump()
    content["architecture"]["depth"]["stereo"] = {"feature": "stage1"}
    config = validate(content, NetworkConfig, "stereo")
    source = TrainingSource([sequence], make_store(mapping, occ3d, None), config, occ3d, recipe())
    samples = [source.sample(index, np.random.default_rng(0)) for index in (1, 2)]
    present = [[bool(past.valid.all()) for past in sample.past] for sample in samples]
    assert present == [[True, False], [True, True]]
    network = build_network(config, len(occ3d), seed=0)
    terms = Objective(network, occ3d, recipe())(
        Opaque(collate(samples)), torch.Generator().manual_seed(0)
    )
    torch.stack(list(terms.values())).sum().backward()
    trained = dict(network.named_parameters())["depth_head.match.0.weight"].grad
    assert trained is not None and trained.isfinite().all() and trained.abs().sum() > 0


@pytest.mark.parametrize("name", ["default", "paper"])
def test_losses_are_finite_and_reach_every_part(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet, name: str
) -> None:
    content = load_recipe(name).model_dump()
    content["rays"] |= {"budget": BUDGET, "rendered": 200, "auxiliary_frames": (-1, 1)}
    wanted = Recipe.model_validate({**content, "precision": "32-true"})
    source = make_source(sequence, mapping, occ3d, recipe=wanted)
    network = build_network(network_config(), len(occ3d))
    objective = Objective(network, occ3d, wanted)
    samples = [source.sample(index, np.random.default_rng(0)) for index in (0, 3)]
    terms = objective(Opaque(collate(samples)), torch.Generator().manual_seed(0))
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(term) for term in terms.values())
    used = {term: value for term, value in wanted.losses.model_dump().items() if value}
    assert set(terms) == set(used)
    assert all(float(value) > 0 for term, value in terms.items() if term != "sky")


def test_a_missing_camera_is_masked(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet
) -> None:
    lame = replace(sequence.frames[1], cameras=(sequence.frames[1].cameras[0], None))
    broken = replace(sequence, frames=(sequence.frames[0], lame, *sequence.frames[2:]))
    sample = make_source(broken, mapping, occ3d).sample(1, np.random.default_rng(0))
    assert sample.views.valid.tolist() == [True, False] and (sample.views.images[1] == 0).all()
    assert np.isnan(sample.depth_m[1]).all() and sample.rays.valid.all()


def test_mistakes_are_named(
    sequence: RecordedSequence, mapping: Path, occ3d: ClassSet, tmp_path: Path
) -> None:
    store = make_store(mapping, occ3d, None)
    one_camera = replace(
        sequence,
        name="other",
        camera_names=("front",),
        frames=tuple(replace(f, cameras=f.cameras[:1]) for f in sequence.frames),
    )
    with pytest.raises(ValueError, match="differ in their number of cameras"):
        TrainingSource([sequence, one_camera], store, network_config(), occ3d, recipe())
    with pytest.raises(ValueError, match="no key frame"):
        TrainingSource([], store, network_config(), occ3d, recipe())
    content = recipe().model_dump()
    content["losses"]["truth"] = 1.0
    with pytest.raises(ValueError, match="needs 3D labels"):
        TrainingSource([sequence], store, network_config(), occ3d, Recipe.model_validate(content))
    camera = sequence.frames[0].cameras[0]
    assert camera is not None
    lost = replace(camera, file=tmp_path / "gone.jpg")
    frame = replace(sequence.frames[0], cameras=(lost, sequence.frames[0].cameras[1]))
    source = make_source(replace(sequence, frames=(frame,)), mapping, occ3d)
    with pytest.raises(ValueError, match=r"gone\.jpg"):
        source.sample(0, np.random.default_rng(0))

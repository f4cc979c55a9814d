"""Official splits of nuScenes, named where scenes are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from renderocc_training.sequences.data_sets import hold_out, open_sequences
from renderocc_training.sequences.nuscenes_splits import SPLITS, with_splits

splits = pytest.importorskip("nuscenes.utils.splits", reason="nuscenes-devkit: Python < 3.13")
SCENES = splits.create_splits_scenes()
KNOWN = ["scene-0061", "scene-0103", "scene-0916", "own"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mini_val"], ["scene-0103", "scene-0916"]),
        (["mini_train", "own"], ["scene-0061", "own"]),
        (["val", "mini_val", "scene-0103"], ["scene-0103", "scene-0916"]),
        (["scene-0916[3:]"], ["scene-0916[3:]"]),
        ([], []),
    ],
)
def test_a_split_stands_for_its_scenes(names: list[str], expected: list[str]) -> None:
    assert with_splits(names, KNOWN) == expected


def test_a_scene_that_is_called_as_a_split_is_meant_itself() -> None:
    assert with_splits(["train"], ["train", "scene-0061"]) == ["train"]


def test_all_splits_of_the_devkit_are_known() -> None:
    assert set(SCENES) == set(SPLITS)


def test_a_split_without_scenes_or_without_the_devkit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="no scene of the split 'test'.*there are 4: own, scene"):
        with_splits(["test"], KNOWN)
    monkeypatch.setitem(sys.modules, "nuscenes.utils.splits", None)
    with pytest.raises(ValueError, match="'val' is a split .* pip install"):
        with_splits(["val"], KNOWN)


def test_scenes_are_opened_and_held_out_by_their_split(recording: Callable[..., Path]) -> None:
    root = recording("data", "nuscenes")
    (split,) = (name for name in ("train", "val") if "scene-0523" in SCENES[name])
    sequences = open_sequences(root, names=[split])
    assert [sequence.name for sequence in sequences] == ["scene-0523"]
    with pytest.raises(ValueError, match="every scene is held out"):
        hold_out(sequences, [split])

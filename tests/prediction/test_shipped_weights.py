"""The weights that come with the package are those that their card describes."""

from __future__ import annotations

from pathlib import Path

from renderocc_ros.checkpoint import file_sha256, load_checkpoint, save_checkpoint
from renderocc_ros.config import load_class_set
from renderocc_ros.paths import shipped_weights
from renderocc_ros.prediction.models import untrained_model

FOLDER = Path(__file__).parents[2] / "weights"


def test_every_file_is_small_and_is_the_one_of_its_card() -> None:
    files = sorted(FOLDER.glob("*.safetensors"))
    assert [file.stem for file in files] == ["nano"]
    for file in files:
        assert file.stat().st_size <= 20e6
        assert f"`{file_sha256(file)}`" in file.with_suffix(".md").read_text(encoding="utf-8")


def test_nano_is_the_network_of_its_name(tmp_path: Path) -> None:
    path = shipped_weights("nano")
    assert path is not None
    save_checkpoint(untrained_model("nano", 0), tmp_path / "named.safetensors")
    model, named = load_checkpoint(path), load_checkpoint(tmp_path / "named.safetensors")
    read = {"threshold": 0.5, "read_out": "class"}  # an untrained network is read otherwise
    of_file, of_name = (each.network.config.model_copy(update=read) for each in (model, named))
    assert of_file == of_name
    assert model.class_set == load_class_set("occ3d")


def test_a_network_without_weights_has_none() -> None:
    assert shipped_weights("r50") is None
    assert shipped_weights("no_such_network") is None

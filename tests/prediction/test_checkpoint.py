"""One file per model: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from renderocc_ros import checkpoint
from renderocc_ros.checkpoint import (
    Model,
    file_sha256,
    load_checkpoint,
    read_header,
    require_match,
    save_checkpoint,
)
from renderocc_ros.class_set import ClassSet, SemanticClass
from renderocc_ros.geometry import VoxelGrid
from renderocc_ros.network import image_backbone
from renderocc_ros.prediction import Predictor
from renderocc_ros.rig.camera_set import CameraSet

Models = Callable[..., Model]
Sets = Callable[..., CameraSet]


@pytest.fixture
def saved(tiny_model: Models, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model(), path)
    return path


def test_others_may_read_it_as_any_file(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    assert saved.stat().st_mode == (tmp_path / "plain").stat().st_mode


def rewritten(
    path: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], None]
) -> Path:
    """The file with its metadata or tensors changed in place."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    target = path.with_name("changed.safetensors")
    save_file(tensors, target, metadata=metadata)
    return target


def with_network(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with the network's configuration in its header changed."""

    def apply(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
        content = json.loads(metadata["model"])
        change(content["network"])
        metadata["model"] = json.dumps(content)

    return rewritten(path, apply)


@pytest.mark.parametrize("architecture", [{}, {"temporal": {"past_frames": 1}}])
def test_a_model_survives_the_round_trip(
    architecture: dict[str, Any], tiny_model: Models, ring_set: Sets, tmp_path: Path
) -> None:
    model = tiny_model(**architecture)
    path = tmp_path / "model.safetensors"
    digest = save_checkpoint(model, path)
    assert digest == file_sha256(path)
    assert list(tmp_path.iterdir()) == [path], "no unfinished file is left"
    loaded = load_checkpoint(path)
    assert loaded.class_set == model.class_set
    assert loaded.network.config.grid == model.network.config.grid
    assert loaded.network.config.image == model.network.config.image
    assert loaded.network.config.threshold == 0.1
    before = Predictor.from_model(model, device="cpu").predict(ring_set())
    after = Predictor.from_checkpoint(path, device="cpu").predict(ring_set())
    assert (before.labels == after.labels).all()
    assert len(set(after.labels.ravel().tolist())) > 1


def test_the_hash_is_that_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(path) == wanted


def test_a_backbone_by_its_defaults_is_written_out_in_full(saved: Path) -> None:
    settings = read_header(saved).config.architecture.backbone.settings  # type: ignore[union-attr]
    assert settings["hidden_sizes"] == [8, 12, 16, 24]
    assert settings["hidden_act"] == "relu", "a default that the configuration did not name"


def test_old_versions_load(saved: Path, monkeypatch: pytest.MonkeyPatch, ring_set: Sets) -> None:
    """A later version that renames a key must still read this version's files."""
    wanted = Predictor.from_checkpoint(saved, device="cpu").predict(ring_set())

    def rename(content: dict[str, Any]) -> dict[str, Any]:
        network = dict(content["renamed_in_2"])
        return {"network": network, "class_set": content["class_set"]}

    def first_version(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
        content = json.loads(metadata["model"])
        content["renamed_in_2"] = content.pop("network")
        metadata["model"] = json.dumps(content)
        assert metadata["format_version"] == "1"

    old = rewritten(saved, first_version)
    with pytest.raises(ValueError, match="lacks 'network'"):
        load_checkpoint(old)
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 2)
    monkeypatch.setitem(checkpoint.UPGRADES, 1, rename)
    assert (
        Predictor.from_checkpoint(old, device="cpu").predict(ring_set()).labels == wanted.labels
    ).all()


def test_newer_and_unknown_versions_are_refused(saved: Path) -> None:
    def version(number: str) -> Path:
        return rewritten(saved, lambda metadata, _: metadata.update(format_version=number))

    with pytest.raises(ValueError, match="format version 99, this program reads up to 1; update"):
        load_checkpoint(version("99"))
    with pytest.raises(ValueError, match="format version 0, which no program wrote"):
        load_checkpoint(version("0"))
    with pytest.raises(ValueError, match="header is damaged"):
        load_checkpoint(version("one"))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_truncated_file(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        load_checkpoint(saved)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a weight file ran code",))


@pytest.mark.parametrize("kind", ["pickle", "torch", "noise", "huge_header", "folder", "absent"])
def test_what_is_no_checkpoint_is_refused_without_running_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"weights": Bomb()}))
    elif kind == "torch":
        torch.save({"weights": Bomb()}, path)
    elif kind == "noise":
        path.write_bytes(bytes(range(256)) * 64)
    elif kind == "huge_header":
        path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ValueError, match=r"evil\.safetensors"):
        load_checkpoint(path)


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"no renderocc_ros checkpoint: .*format = None"):
        load_checkpoint(path)


def test_weights_of_another_shape_are_refused_before_any_is_allocated(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enlarge(network: dict[str, Any]) -> None:
        network["architecture"]["encoder"]["channels"] = [4096, 65536]

    def on_no_real_device(*args: Any, **options: Any) -> Any:
        assert torch.empty(0).device.type == "meta", "weights were allocated"
        return real(*args, **options)

    real = checkpoint.build_network
    monkeypatch.setattr(checkpoint, "build_network", on_no_real_device)
    with pytest.raises(ValueError, match=r"do not fit network 'tiny': .* the network needs .*4096"):
        load_checkpoint(with_network(saved, enlarge))


def test_missing_and_unknown_weights_are_named(saved: Path) -> None:
    def swap(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
        tensors["stray"] = tensors.pop("occupancy_field.out.bias")

    wanted = r"lacks occupancy_field\.out\.bias; holds unknown stray"
    with pytest.raises(ValueError, match=wanted):
        load_checkpoint(rewritten(saved, swap))


def test_weights_that_are_not_finite_are_refused(saved: Path) -> None:
    def spoil(metadata: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
        tensors["occupancy_field.out.bias"][0] = float("nan")

    with pytest.raises(ValueError, match=r"'occupancy_field\.out\.bias' holds numbers .* finite"):
        load_checkpoint(rewritten(saved, spoil))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_implementation", "someone/kernels"),
        ("_attn_implementation", "someone/kernels"),
        ("auto_map", {"AutoBackbone": "someone/code--model.Backbone"}),
        ("trust_remote_code", True),
        ("name_or_path", "someone/model"),
    ],
)
def test_a_header_cannot_name_code_to_fetch(saved: Path, key: str, value: Any) -> None:
    def inject(network: dict[str, Any]) -> None:
        network["architecture"]["backbone"]["settings"][key] = value

    with pytest.raises(ValueError, match=f"unknown key 'backbone.settings.{key}'"):
        load_checkpoint(with_network(saved, inject))


def test_a_pretrained_name_in_a_header_is_not_followed(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def inject(network: dict[str, Any]) -> None:
        network["architecture"]["backbone"]["pretrained"] = "someone/model"

    monkeypatch.setattr(image_backbone, "_from_pretrained", lambda *_: pytest.fail("it was"))
    assert load_checkpoint(with_network(saved, inject)).network.grid.size == (20, 20, 4)


@pytest.mark.parametrize("damage", ["[]", "{}", '{"network": 3, "class_set": {}}', "{", "null"])
def test_damaged_headers_are_refused(saved: Path, damage: str) -> None:
    path = rewritten(saved, lambda metadata, _: metadata.update(model=damage))
    with pytest.raises(ValueError, match="header is damaged|header lacks"):
        load_checkpoint(path)


def test_a_mismatch_names_both_values(saved: Path) -> None:
    header = read_header(saved)
    require_match(header, grid=header.config.grid.build(), class_set=header.class_set)
    other = VoxelGrid((-40.0, -40.0, -1.0), 0.8, (100, 100, 8))
    with pytest.raises(ValueError, match=r"\(100, 100, 8\).* was asked for.*\(20, 20, 4\)"):
        require_match(header, grid=other)
    two = ClassSet("two", (SemanticClass(0, "a", (0, 0, 0)), SemanticClass(1, "b", (0, 0, 0))))
    with pytest.raises(
        ValueError, match=r"'two' \(a, b\) was asked .*'three' \(ground, wall, cart\)"
    ):
        Predictor.from_checkpoint(saved, device="cpu").require(class_set=two)


def test_an_interrupted_save_leaves_the_old_file(
    saved: Path, tiny_model: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file_sha256(saved)

    def fail(file: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tiny_model(seed=2), saved)
    assert file_sha256(saved) == before
    assert list(saved.parent.iterdir()) == [saved]

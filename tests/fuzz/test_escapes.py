"""What got past a reader once: forged sizes, bombs, and errors that were none of ours."""

from __future__ import annotations

import io
import json
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from renderocc_ros.checkpoint import load_checkpoint
from renderocc_ros.checkpoint_convert import read_official
from renderocc_ros.config import load_rig
from renderocc_ros.occupancy.occ3d_files import read_prediction, read_truth
from renderocc_training.evaluation.results import read_results
from tests.fuzz.property import Sound
from tests.fuzz.targets import TARGETS

SECONDS, KIB = 5.0, 300_000


@contextmanager
def refused(message: str) -> Iterator[pytest.ExceptionInfo[ValueError]]:
    """By a message with these words, in bounded time and memory."""
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(ValueError, match=message) as result:
        yield result
    assert time.process_time() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < KIB
    assert len(str(result.value)) < 1000


def header(shape: str, descr: str = "|u1") -> bytes:
    """The beginning of a .npy file."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text + b"\n"


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def bomb(path: Path, claimed: int) -> Path:
    """A zip whose directory says that its member has so many bytes: of 64 kB that it holds."""
    zipped(path, semantics=header("(1024, 1024, 3072)") + bytes(1 << 16))
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = claimed.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("read", [read_truth, read_prediction])
def test_a_bomb_of_3_gigabytes_is_refused_unopened(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = bomb(tmp_path / "bomb.npz", 3 << 30)
    with refused(r"bomb\.npz is broken.* 3,221,225,472 bytes unpacked"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("(1125899906842624, 10)"), "an array says uint8 .* and holds 0 bytes"),
        (header("(2, 2, 2)"), "holds 0 bytes"),
        (header("(-1, -1, 1)") + b"1", "is broken"),
        (header("(2,)", "|O") + bytes(16), "Object arrays cannot be loaded"),
        (header("(" * 4000 + ")" * 4000), "is broken"),
        (header("(2, '"), "is broken"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "is broken"),
        (b"", "is broken"),
    ],
)
def test_arrays_that_say_what_they_do_not_hold(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "labels.npz", semantics=content)
    with refused(message):
        read_prediction(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("bare.npz", "not a zip file"), ("bare.npy", "says uint8 .* holds 0 bytes")],
)
def test_a_bare_array_of_9_pib_is_refused(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(header("(1125899906842624, 10)"))
    with refused(message):
        read_prediction(path)


def test_a_broken_deflate_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    np.savez_compressed(path, semantics=np.zeros((20, 20, 20), np.uint8))
    content = bytearray(path.read_bytes())
    start = content.index(b"semantics.npy") + 60
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with refused(r"labels\.npz is broken") as result:
        read_prediction(path)
    assert isinstance(result.value.__cause__, zlib.error | zipfile.BadZipFile)


def test_masks_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.npz"
    labels, mask = np.zeros((4, 4, 2), np.uint8), np.ones((4, 4, 1), bool)
    np.savez(path, semantics=labels, mask_camera=mask, mask_lidar=mask)
    with refused(r"labels \(4, 4, 2\), masks \(4, 4, 1\)"):
        read_truth(path)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "more than 100,000 values"),
        (MERGES, "more than 100,000 values"),
        ("a: " + "[" * 20_000, "more than 32 levels"),
        ("a: " + "{b: " * 20_000, "more than 32 levels"),
        ("- " * 20_000 + "a", "more than 32 levels"),
        ("name: &a [*a]", "an alias inside of what it stands for"),
        ("name: !!bool maybe", "is broken .KeyError"),
        ("name: !!timestamp x", "is broken .AttributeError"),
        ("name: 2001-99-99", "is broken .month must be"),
        ("name: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("name: " + "x" * (1 << 20), "more than 1,048,576 bytes"),
        ("name: 0x" + "f" * 10_000, "more than 1,000 letters"),
    ],
)
def test_yaml_that_is_no_configuration(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(text)
    with refused(rf"rig\.yaml.*{message}"):
        load_rig(str(path))


def test_anchors_and_merges_of_a_real_rig_still_work(tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_text(
        "name: twins\ncameras:\n"
        "- &left {name: left, image_topic: /left/image, compressed: false}\n"
        "- {<<: *left, name: right, image_topic: /right/image}\n"
    )
    rig = load_rig(str(path))
    assert rig.names == ("left", "right")
    assert not rig.cameras[1].compressed


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("architecture", "depth", "step_m"), 1e-6, "step_m = 1e-06 leave no depth bin, or more"),
        (("architecture", "depth", "blocks"), 10**9, "blocks: Input should be less"),
        (("architecture", "temporal", "past_frames"), 10**9, "past_frames: Input should be less"),
        (("architecture", "encoder", "channels"), [4] * 10**5, "channels"),
        (("architecture", "neck", "channels"), 10**12, "channels: Input should be less"),
        (
            ("architecture", "backbone", "settings", "depths"),
            [10**6] * 4,
            "its network has far more weights than the file",
        ),
        (("grid", "size"), [2**31, 1, 1], "has more than 268435456 cells"),
    ],
)
def test_a_checkpoint_of_a_network_that_takes_for_ever(
    place: tuple[str, ...], value: Any, message: str, tmp_path: Path
) -> None:
    sound = Sound(TARGETS["checkpoint"], tmp_path)
    content = sound.file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + length])
    model = json.loads(table["__metadata__"]["model"])
    holder = model["network"]
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    table["__metadata__"]["model"] = json.dumps(model)
    changed = json.dumps(table).encode()
    sound.file.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    with refused(rf"model\.safetensors.*{message}"):
        load_checkpoint(sound.file)


def test_an_official_file_that_is_cut_or_empty(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(3)}}, buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "official.pth"
    for content in (b"", b"\x80\x02.", b"\x80\x02)R.", buffer.getvalue()[:200]):
        path.write_bytes(content)
        with refused(r"official\.pth is (refused|truncated)"):
            read_official(path)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": [{"token": "../../etc/x", "source": "bag", "stamp_ns": 1}]},
        {"frames": 3},
        {"frames": [{"token": "t1"}]},
        {"classes": [{"id": 0}]},
        {"grid": {"origin_m": [0, 0], "resolution_m": 1, "size": [1, 1, 1]}},
        {"cameras": None},
        {"mask": []},
        {"version": "1"},
    ],
)
def test_results_that_are_none(change: dict[str, Any], tmp_path: Path) -> None:
    sound = Sound(TARGETS["results.json"], tmp_path)
    sound.file.write_text(json.dumps(json.loads(sound.file.read_text()) | change))
    with refused(r"results\.json is broken .*: evaluate again"):
        read_results(tmp_path / "results")


def test_a_label_image_that_says_it_is_huge_is_not_decoded(tmp_path: Path) -> None:
    sound = Sound(TARGETS["label PNG"], tmp_path)
    content = sound.file.read_bytes()
    size = struct.pack(">II", 12_000, 12_000)
    chunk = b"IHDR" + size + content[24:29]
    sound.file.write_bytes(
        content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:]
    )
    with refused(r"000000\.png is broken .*more than 4 times"):
        sound.target.read(tmp_path)


@pytest.mark.parametrize("brackets", [b"[" * 20_000, b'{"a":' * 20_000])
def test_results_of_brackets(brackets: bytes, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_bytes(brackets)
    with refused(r"results\.json is broken"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("size", "reason"), [((2**31, 2**31), "2147483648 x"), ((40, 0), "40 x 0"), ((10**7, 9), "x 9")]
)
def test_a_road_map_that_says_it_is_huge_is_not_inflated(
    size: tuple[int, int], reason: str, tmp_path: Path
) -> None:
    sound = Sound(TARGETS["nuScenes road map"], tmp_path)
    content = sound.file.read_bytes()
    sound.file.write_bytes(content[:16] + struct.pack(">II", *size) + content[24:])
    with refused(rf"map\.png is broken .*{reason}"):
        sound.target.read(tmp_path)


def test_a_road_map_whose_chunk_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    sound = Sound(TARGETS["nuScenes road map"], tmp_path)
    content = sound.file.read_bytes()
    header = struct.pack(">II5B", 40, 2621440, 0, 40, 8, 0, 0)
    sound.file.write_bytes(content[:16] + header + content[29:])
    with refused(r"map\.png is broken"):
        sound.target.read(tmp_path)

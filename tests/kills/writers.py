"""Every writer of files, with inputs small enough to be killed a hundred times."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from renderocc_ros.checkpoint import Model, load_checkpoint, save_checkpoint
from renderocc_ros.config import load_class_set, validate
from renderocc_ros.export import export_onnx
from renderocc_ros.network.official import preset
from renderocc_ros.network.official.swin import SwinConfig
from renderocc_ros.network.renderocc import build_network
from renderocc_ros.network_config import NetworkConfig, load_network_config
from renderocc_training.evaluation.results import read_results
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.sequences.data_sets import open_sequences
from renderocc_training.trainer.run_state import read_state
from tests.kills.dying import renderocc, run
from tests.sequences.conftest import VERSION, TinyNuscenes

torch.set_num_threads(1)  # threads of OpenMP do not survive a fork, and whoever waits for them
# What the forked processes would import one by one.
for name in ("evaluate", "export_voxels", "extract", "labels", "report", "train", "truth", "view"):
    import_module(f"renderocc_training.commands.{name}")
NETWORK = {
    "name": "toy",
    "image": {"width": 64, "height": 32},
    "grid": {"origin_m": [-12.0, -12.0, -1.0], "resolution_m": 2.0, "size": [12, 12, 4]},
    "architecture": {
        "kind": "lifted",
        "backbone": {
            "model_type": "resnet",
            "settings": {
                "embedding_size": 8,
                "hidden_sizes": [8, 12, 16, 24],
                "depths": [1, 1, 1, 1],
                "layer_type": "basic",
            },
            "out_features": ["stage2", "stage3"],
        },
        "neck": {"channels": 16, "stride": 8},
        "depth": {
            **{"from_m": 1.0, "to_m": 13.0, "step_m": 1.0},
            **{"context_channels": 8, "hidden_channels": 16},
        },
        "encoder": {"channels": [16, 24], "out_channels": 8},
        "field": {"hidden_channels": 16},
    },
}
EXTRACT = ("extract", "--rig", "nuscenes", "--processes", "1")
NO_BOXES = ("--semantics", "none")
Contents = dict[str, bytes]
Words = list[str | Path]


@dataclass(frozen=True)
class Writer:
    """A command that writes.

    Attributes:
        command: its words, from the inputs and the path to write.
        read: what the tools make of the output; a ValueError is a refusal.
        before: makes what the output is before the command is called: most often nothing.
        comparable: content of a file without what differs from run to run (times), by a part
            of its name; None leaves the file out.
        stages: readers of files that are written more than once, by a part of their names.
        growing: ends of names of files that grow line by line.
        warm: called once, before processes are forked.
    """

    command: Callable[[Inputs, Path], Words]
    read: Callable[[Path], object]
    before: Callable[[Inputs, Path], object] = lambda inputs, out: None
    comparable: Mapping[str, Callable[[bytes], bytes] | None] = field(default_factory=dict)
    stages: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)
    growing: tuple[str, ...] = ()
    warm: Callable[[Inputs], object] = lambda inputs: None

    def call(self, inputs: Inputs, out: Path) -> Callable[[], object]:
        return renderocc(*self.command(inputs, out))

    def contents(self, out: Path) -> Contents:
        """Every file under its final name; names that begin with a dot are unfinished business."""
        files = [out] if out.is_file() else sorted(out.rglob("*"))
        contents = {}
        for file in files:
            name = file.relative_to(out.parent)
            if not file.is_file() or any(part.startswith(".") for part in name.parts):
                continue
            how = self._of(self.comparable, file, bytes)
            if how is not None:
                contents[name.as_posix()] = how(file.read_bytes())
        return contents

    def half(self, out: Path, *versions: Contents) -> list[str]:
        """Files under their final names that hold neither version, nor a whole one between."""
        wrong = []
        for name, content in self.contents(out).items():
            file = out.parent / name
            if any(version.get(name) == content for version in versions) or name.endswith(
                self.growing
            ):
                continue
            read = self._of(self.stages, file, None)
            try:
                if read is None:
                    raise ValueError
                read(file)
            except ValueError:
                wrong.append(name)
        return wrong

    @staticmethod
    def _of(table: Mapping[str, Any], file: Path, default: Any) -> Any:
        return next((table[end] for end in table if end in file.name), default)


class Inputs:
    """What the writers are given, made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def data(self) -> Path:
        """A nuScenes of four key frames."""
        return TinyNuscenes(self.folder / "data").write()

    @cached_property
    def bag(self) -> Path:
        return self._made("bag", "nuscenes-to-bag", self.data)

    @cached_property
    def other_bag(self) -> Path:
        """Another drive of the same road."""
        data = TinyNuscenes(self.folder / "other")
        data.random = np.random.default_rng(8)
        path = data.write()
        for table, known, other in (
            ("scene", "scene-9001", "scene-9002"),
            ("log", "n000-2020", "n001-2020"),
        ):
            file = path / VERSION / f"{table}.json"
            file.write_text(file.read_text().replace(known, other))
        return self._made("other-bag", "nuscenes-to-bag", path)

    @cached_property
    def one(self) -> Path:
        """A data set of one bag."""
        return self._made("one", *EXTRACT, self.bag, option="--out")

    @cached_property
    def two(self) -> Path:
        """A data set of two bags."""
        return self._made("two", *EXTRACT, self.bag, self.other_bag, option="--out")

    @cached_property
    def network(self) -> Path:
        path = self.folder / "toy.yaml"
        path.write_text(yaml.safe_dump(NETWORK))
        return path

    @cached_property
    def model(self) -> Path:
        path = self.folder / "model.safetensors"
        classes = load_class_set("occ3d")
        config = validate(NETWORK, NetworkConfig, "toy")
        save_checkpoint(Model(build_network(config, len(classes), seed=0), classes), path)
        return path

    @cached_property
    def truth(self) -> Path:
        return self._made("gts", "truth", self.data, "--grid", self.network, option="--out")

    @cached_property
    def labels(self) -> Path:
        return self._made("labels", "labels", "make", self.two, *NO_BOXES, option="--out")

    @cached_property
    def results(self) -> Path:
        return self._made(
            *("results", "evaluate", self.model, self.data, "--threads", "1"), option="--out"
        )

    def _made(self, name: str, *words: str | Path, option: str | None = None) -> Path:
        path = self.folder / name
        end = run(renderocc(*words, *([option] if option else []), path), path)
        if end.code:
            raise RuntimeError(f"{words}: {end.output}")
        return path


def _read_bag(path: Path) -> object:
    with BagReader(path) as reader:
        return [(each.topic, each.log_time_ns, bytes(each.data)) for each in reader.messages()]


def _read_nuscenes(path: Path) -> object:
    """The tables, and all that they name."""
    measurements = [
        each.file.read_bytes()
        for sequence in open_sequences(path, "nuscenes")
        for each in sequence.measurements()
    ]
    return measurements, [file.read_bytes() for file in sorted(path.glob("v*/*.json"))]


def _read_results(path: Path) -> object:
    results = read_results(path)
    files = sorted(file for file in path.rglob("*") if file.suffix in (".npz", ".jpg"))
    return len(results.frames), [file.read_bytes() for file in files]


def _separate(path: Path) -> object:
    """Each file stands for itself; that others are lacking is for who wants them to say."""
    raise ValueError(f"{path} is no whole")


def _timeless(content: bytes) -> bytes:
    """results.json without latencies."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if key != "latency_ms"}
        return [plain(each) for each in value] if isinstance(value, list) else value

    return json.dumps(plain(json.loads(content))).encode()


def _rows_without_latency(content: bytes) -> bytes:
    rows = [
        {key: value for key, value in row.items() if key != "latency_ms"}
        for row in csv.DictReader(io.StringIO(content.decode()))
    ]
    return json.dumps(rows).encode()


def _steps_without_speed(content: bytes) -> bytes:
    try:
        steps = [json.loads(line) for line in content.splitlines()]
    except ValueError:  # the last line is cut
        return content
    return json.dumps([step | {"samples_per_s": 0} for step in steps]).encode()


def _train(inputs: Inputs, out: Path) -> Words:
    return [
        *(
            "train",
            inputs.two,
            *NO_BOXES,
            "--out",
            out,
            "--network",
            inputs.network,
            "--recipe",
            "debug",
        ),
        *("--steps", "3", "--save-every", "1", "--workers", "0", "--pictures-every", "2"),
        *("--labels", inputs.labels, "--devices", "1", "--held-out", "scene-9002"),
    ]


def _evaluate(inputs: Inputs, out: Path) -> Words:
    return [
        *("evaluate", inputs.model, inputs.data, "--truth", inputs.truth, "--out", out),
        *("--threads", "1"),
    ]


def _tensors(content: bytes) -> bytes:
    """A checkpoint with its header sorted, which the library does not do."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return json.dumps(header, sort_keys=True).encode() + content[8 + length :]


def _state(content: bytes) -> bytes:
    """The values of a training's state, whatever shares memory with what."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {str(key): plain(each) for key, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list | tuple) else value

    return json.dumps(plain(torch.load(io.BytesIO(content), weights_only=True))).encode()


def _simulate(inputs: Inputs, out: Path) -> Words:
    return [
        *("simulate", out, "--preset", "tiny", "--rig", "two_cameras", "--seconds", "0.5"),
        *("--traffic", "2", "--walkers", "2", "--processes", "1"),
    ]


def _view(suffix: str) -> Callable[[Inputs, Path], Words]:
    return lambda inputs, out: [
        *("view", inputs.results, "--seconds", "0.1", "--width", "320"),
        *("--save", out / f"drive.{suffix}"),
    ]


def _small_official(inputs: Inputs) -> None:
    """The published network with fewer and narrower layers, in this process and its children."""
    small = partial(
        preset.SwinBStereoConfig,
        swin=SwinConfig(
            channels=16, depths=(2, 1, 1, 1), heads=(1, 2, 2, 2), window=4, mlp_ratio=2
        ),
        **{"neck_channels": 24, "aspp_channels": 8, "context_channels": 8},
        encoder_blocks=(1, 1, 1),
    )
    preset.SwinBStereoConfig = small  # type: ignore[misc,assignment]
    classes = load_class_set("occ3d")
    network = preset.build_official(load_network_config("swinb-stereo"), len(classes))
    torch.save({"state_dict": network.state_dict()}, inputs.folder / "official.pth")


def _trace_once(inputs: Inputs) -> None:
    """Tracing a network takes seconds and writes nothing: it is done here for all."""
    export, programs = torch.onnx.export, []

    def traced(*arguments: Any, **options: Any) -> Any:
        if not programs:
            programs.append(export(*arguments, **options))
        return programs[0]

    torch.onnx.export = traced
    export_onnx(load_checkpoint(inputs.model), inputs.folder / "model.onnx", cameras=2)


def _export_voxels(inputs: Inputs, out: Path) -> Words:
    return ["export-voxels", inputs.results, "--format", "ply", "--out", out]


RESULTS = {"results.json": _timeless, "frames.csv": _rows_without_latency}
WRITERS: dict[str, Writer] = {
    "extract": Writer(lambda inputs, out: [*EXTRACT, inputs.bag, "--out", out], _read_nuscenes),
    "extract into a data set": Writer(
        lambda inputs, out: [*EXTRACT, inputs.other_bag, "--out", out],
        _read_nuscenes,
        before=lambda inputs, out: shutil.copytree(inputs.one, out),
    ),
    "nuscenes-to-bag": Writer(lambda inputs, out: ["nuscenes-to-bag", inputs.data, out], _read_bag),
    "labels make": Writer(
        lambda inputs, out: ["labels", "make", inputs.data, "--out", out], _separate
    ),
    "labels show": Writer(
        lambda inputs, out: [
            *("labels", "show", inputs.two, *NO_BOXES, "--labels", inputs.labels, "--out", out)
        ],
        _separate,
    ),
    "truth": Writer(
        lambda inputs, out: ["truth", inputs.data, "--grid", inputs.network, "--out", out],
        _separate,
    ),
    "train": Writer(
        _train,
        _separate,
        comparable={
            **{"steps.jsonl": _steps_without_speed, "tfevents": None},
            **{".safetensors": _tensors, "last.pt": _state},
        },
        stages={".safetensors": load_checkpoint, "last.pt": lambda file: read_state(file.parent)},
        growing=("steps.jsonl",),
    ),
    "evaluate": Writer(_evaluate, _read_results, comparable=RESULTS),
    "report": Writer(lambda inputs, out: ["report", inputs.results, "--out", out], _separate),
    "export": Writer(
        lambda inputs, out: [
            *("export", inputs.model, "--onnx", out / "model.onnx", "--cameras", "2")
        ],
        _separate,
        warm=_trace_once,
    ),
    "convert": Writer(
        lambda inputs, out: ["convert", inputs.folder / "official.pth", out / "model.safetensors"],
        _separate,
        comparable={".safetensors": _tensors},
        warm=_small_official,
    ),
    "simulate": Writer(_simulate, _read_bag),
    "evaluate --bag": Writer(
        lambda inputs, out: [
            *("evaluate", inputs.model, inputs.data, "--truth", inputs.truth, "--threads", "1"),
            *("--out", out / "results", "--bag", out / "bag", "--no-images"),
        ],
        lambda out: (_read_results(out / "results"), _read_bag(out / "bag")),
        comparable=RESULTS,
    ),
    "export-voxels": Writer(_export_voxels, _separate),
    "view --save .png": Writer(_view("png"), _separate),
    "view --save .gif": Writer(_view("gif"), _separate),
    "view --save .mp4": Writer(_view("mp4"), _separate),
    "rviz-config": Writer(
        lambda inputs, out: [
            *("rviz-config", "--rig", "nuscenes", "--network", inputs.network),
            *("--out", out / "a.rviz", "--foxglove", out / "a.json"),
        ],
        _separate,
    ),
}

"""An exported file with convolutions in eight bits, as far as the labels stay what they were.

A convolution in int8 takes activations and weights as whole numbers of a step: one step for each
output channel's weights, one for all activations, from their extremes on recorded sets (Jacob et
al. 2018, arXiv 1712.05877). Some layers bear that and others do not: so layers are tried in groups,
in the order of the network, and those go to int8 whose labels stay equal together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from renderocc_ros.files import write_bytes
from renderocc_ros.prediction.onnx_engine import Session, open_session
from renderocc_ros.prediction.options import Options
from renderocc_ros.prediction.predictor import Predictor
from renderocc_ros.rig.camera_set import CameraSet

Target = Literal["cpu", "gpu"]
METADATA = "int8"  # its key in the file
GROUPS = 10
MIN_SETS = 4
MAX_SETS = 32  # that are kept of those read: more say no more
Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Int8Report:
    """What became of a file.

    Attributes:
        target: "cpu", or "gpu" with steps about zero, as TensorRT wants them.
        convolutions: how many are in int8 now, of ``all_convolutions``.
        calibrated_on: number of sets whose extremes gave the steps.
        compared_on: number of other sets whose labels were compared.
        labels_equal: share of voxels whose label is the one of the file in float32.
        occupied_equal: the same of voxels that either says are occupied.
    """

    target: Target
    convolutions: int
    all_convolutions: int
    calibrated_on: int
    compared_on: int
    labels_equal: float
    occupied_equal: float

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"int8 for the {self.target}: {self.convolutions} of {self.all_convolutions} "
            f"convolutions\nlabels as in fp32 on {self.compared_on} held-out sets: "
            f"{self.labels_equal:.2%} of all voxels, {self.occupied_equal:.2%} of those that "
            "either says are occupied"
        )


def write_int8(
    path: Path,
    out: Path,
    sets: Iterable[CameraSet],
    *,
    target: Target,
    equal: float = 0.99,
    tell: Callable[[str], None] = lambda text: None,
) -> Int8Report:
    """Write an exported file again with convolutions in int8.

    Every second set gives the steps and decides which layers bear them, the others are compared.
    Labels are those of single sets, before a network's memory.

    Args:
        path: of ``export_onnx``.
        out: file to write; may be ``path``.
        sets: of the rig that it is for, in order of time; some of them, spread evenly, are used.
        equal: share of labels that must stay equal, over the sets of calibration.
        tell: takes what goes on.

    Raises:
        ValueError: too few sets, or labels change whichever layers are taken.
    """
    feeds, free = network_inputs(path, sets)
    if len(feeds) < MIN_SETS:
        raise ValueError(
            f"{len(feeds)} sets of images are too few for int8, which needs {MIN_SETS} or more"
        )
    calibration, held_out = feeds[::2], feeds[1::2]
    with TemporaryDirectory() as folder:
        quantiser = _Quantiser(path, Path(folder), calibration, target)
        wanted = quantiser.labels(path, calibration)

        def share(groups: Sequence[Sequence[str]]) -> float:
            quantiser.write([name for group in groups for name in group])
            labels = quantiser.labels(quantiser.written, calibration)
            return agreement(labels, wanted, free)[0]

        groups = [list(part) for part in np.array_split(quantiser.convolutions, GROUPS)]
        groups = [group for group in groups if group]
        alone = []
        for number, group in enumerate(groups):
            tell(f"trying layers, {number + 1} of {len(groups)}")
            alone.append(share([group]))
        order = [groups[number] for number in np.argsort(-np.array(alone), kind="stable")]
        bears, changes = 0, len(order) + 1  # how many of them: these, and fewer than these
        while changes - bears > 1:
            middle = (bears + changes) // 2
            tell(f"trying the best {middle} of {len(order)} groups of layers")
            bears, changes = (
                (middle, changes) if share(order[:middle]) >= equal else (bears, middle)
            )
        if not bears:
            raise ValueError(
                f"no layers of {path} bear int8: the best leave {max(alone):.2%} of the labels as "
                f"they were, {equal:.2%} are asked for"
            )
        chosen = [name for group in order[:bears] for name in group]
        quantiser.write(chosen)
        same = agreement(
            quantiser.labels(quantiser.written, held_out), quantiser.labels(path, held_out), free
        )
        count, total = len(chosen), len(quantiser.convolutions)
        report = Int8Report(target, count, total, len(calibration), len(held_out), *same)
        write_bytes(out, quantiser.content(report))
    return report


def network_inputs(path: Path, sets: Iterable[CameraSet]) -> tuple[list[Feed], int]:
    """What an exported file gets for sets, past frames with it; and the label of free.

    Of more than ``MAX_SETS`` every second is left out, as often as it takes.
    """
    recorder = _Recorder(open_session(path, Options(device="cpu")))
    predictor = Predictor.from_session(recorder, path)
    for camera_set in sets:
        predictor.predict(camera_set)
    return recorder.feeds, len(predictor.class_set)


def agreement(labels: NDArray[Any], wanted: NDArray[Any], free: int) -> tuple[float, float]:
    """Share of equal labels: of all, and of those that either says are occupied."""
    equal, occupied = labels == wanted, (labels != free) | (wanted != free)
    return float(equal.mean()), float(equal[occupied].mean()) if occupied.any() else 1.0


class _Recorder:
    """A session that keeps what it is given, evenly thinned."""

    def __init__(self, session: Session) -> None:
        self.device, self.metadata, self.shapes = session.device, session.metadata, session.shapes
        self.feeds: list[Feed] = []
        self._session, self._runs, self._every = session, 0, 1

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """See ``Session``."""
        if self._runs % self._every == 0:
            self.feeds.append({name: value.numpy() for name, value in inputs.items()})
        if len(self.feeds) > MAX_SETS:
            self.feeds, self._every = self.feeds[::2], 2 * self._every
        self._runs += 1
        return self._session.run(inputs, outputs)


class _Quantiser:
    """onnxruntime's static quantisation of chosen convolutions."""

    def __init__(
        self, path: Path, folder: Path, calibration: Sequence[Feed], target: Target
    ) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self.written = folder / "int8.onnx"
        self._plain, self._feeds, self._target = folder / "plain.onnx", calibration, target
        quant_pre_process(str(path), str(self._plain), skip_symbolic_shape=True)
        self._metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        nodes = onnx.load(self._plain).graph.node
        self.convolutions = [node.name for node in nodes if node.op_type == "Conv"]

    def write(self, nodes: Sequence[str]) -> None:
        """The file ``written``, with these nodes in int8."""
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        class Reader(CalibrationDataReader):
            """The feeds, one after another."""

            def __init__(self, feeds: Sequence[Feed]) -> None:
                self._feeds: Iterator[Feed] = iter(feeds)

            def get_next(self) -> Any:
                return next(self._feeds, None)

        on_gpu = self._target == "gpu"
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it warns of what it was asked to do
        try:
            quantize_static(
                str(self._plain),
                str(self.written),
                Reader(self._feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                nodes_to_quantize=list(nodes),
                per_channel=True,
                activation_type=QuantType.QInt8 if on_gpu else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": on_gpu, "WeightSymmetric": True},
            )
        finally:
            logging.disable(before)

    def labels(self, path: Path, feeds: Sequence[Feed]) -> NDArray[Any]:
        """(sets, 1, X, Y, Z) labels that a file gives."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return np.stack([session.run(["labels"], dict(feed))[0] for feed in feeds])

    def content(self, report: Int8Report) -> bytes:
        """What was written last, with the metadata of the plain file and the report."""
        import onnx

        model = onnx.load(self.written)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {**self._metadata, METADATA: json.dumps(asdict(report))})
        return bytes(model.SerializeToString())

"""All that a GPU decides, in under eight minutes: OUT/gpu.json, and OUT/gpu.md with its tables.

    ./run bench gpu OUT

- parity: the labels of every preset on the GPU beside those on the CPU;
- kernels: ``bench kernels``;
- frames: sets a second of every preset, from bytes on the host to labels on the host, eager and by
  CUDA graph, then by onnxruntime, TensorRT and torch.compile as far as there is time;
- training: a step of every preset.

Each part is a process of its own. The files are written after each; what there was no time for is
named in them. ``--tiny`` takes tiny sizes, to try it out without a GPU; its times mean nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from renderocc_ros import __version__
from renderocc_ros.files import write_bytes

HERE = Path(__file__).resolve().parent
PRESETS = "nano,nano-resnet,r50-fast,r50,swinb-stereo"
SECONDS = 460.0
MIN_SECONDS = 5.0  # less is not worth the start of a process
# Most wanted first. Another than eager brings eager along, which it is compared with.
GPU_WAYS = ("cuda_graph,cuda_graph_fp16", "onnxruntime,tensorrt_fp16", "compile_fp16")
CPU_WAYS = ("bf16", "onnxruntime,openvino")
MAX_SECONDS = {"parity": 60, "kernels": 90, "frames": 150, "training": 60}


@dataclass(frozen=True)
class Part:
    """A process that prints JSON lines."""

    kind: str
    name: str
    command: tuple[str, ...]


def parts(networks: list[str], tiny: bool, on_gpu: bool) -> Iterator[Part]:
    """Everything there is to run, most wanted first."""
    own, flags = str(HERE / "_gpu_parts.py"), ["--cameras=2", "--tiny"] if tiny else []
    sizes = ["--cameras=2", "--image-size=128x64", "--sets=2", "--threads=1"] if tiny else []
    first, *later = GPU_WAYS if on_gpu else CPU_WAYS
    benchmark = ("-m", "renderocc_ros.cli", "benchmark")
    for name in networks:
        yield Part("parity", name, (own, "parity", name, *flags))
    trial = [] if on_gpu else ["--trial"]
    yield Part("kernels", "triton", (str(HERE / "kernels.py"), *trial))
    for name in networks:
        yield Part("frames", name, (*benchmark, name, f"--backends={first}", *sizes))
    for name in networks:
        yield Part("training", name, (own, "training", name, *flags))
    for ways in later:
        for name in networks:
            yield Part("frames", name, (*benchmark, name, f"--backends={ways}", *sizes))


def run_part(part: Part, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """The lines that it printed, and what went wrong."""
    env = {**os.environ} if torch.cuda.is_available() else {**os.environ, "TRITON_INTERPRET": "1"}
    with tempfile.TemporaryFile("w+") as lines, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, *part.command],
            stdout=lines,
            stderr=log,
            env=env,
            start_new_session=True,  # so that its own processes end with it
        )
        problem = ""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            problem = f"ended after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for stream in (lines, log):
            stream.seek(0)
        if process.returncode and not problem:
            problem = (log.read().strip().splitlines() or [f"exit {process.returncode}"])[-1]
        results = [line for line in map(_read_line, lines) if line is not None]
    return results, problem


def _read_line(line: str) -> dict[str, Any] | None:
    """A JSON object; not what else is printed, and not half a line of a process that was ended."""
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def tables(content: dict[str, Any]) -> str:
    """The results as Markdown, for docs/BENCHMARKS.md."""
    about = content["machine"]
    text = [f"{about['device']}, torch {about['torch']}, CUDA {about['cuda']}.\n"]
    columns: dict[str, dict[str, Any]] = {
        "parity": {"network": "network", "labels_equal": "labels as on the CPU"},
        "frames": {
            **{"network": "network", "backend": "way", "sets_per_s": "sets/s"},
            **{"p50": "p50 ms", "p95": "p95 ms", "cpu_ms_per_set": "CPU ms"},
            **{"peak_gpu_memory_mb": "GPU MB", "labels_equal": "labels as eager"},
        },
        "training": {
            **{"network": "network", "step_ms": "step ms", "precision": "precision"},
            "peak_gpu_memory_mb": "GPU MB",
        },
        "kernels": {
            **{"compared": "kernel", "torch_ms": "PyTorch ms", "triton_ms": "Triton ms"},
            "ratio": "ratio",
        },
    }
    for kind, names in columns.items():
        lines = [
            line for part in content["parts"] if part["kind"] == kind for line in part["lines"]
        ]
        seen = {json.dumps([line.get("network"), line.get("backend")]): line for line in lines}
        if kind == "frames":
            lines = list(seen.values())  # eager ran beside each of the others
        rows = [{**line, **line.get("latency_ms", {})} for line in lines if "error" not in line]
        if rows:
            text += ["| " + " | ".join(names.values()) + " |", "|---" * len(names) + "|"]
            text += [
                "| " + " | ".join(str(row.get(key, "")) for key in names) + " |" for row in rows
            ]
            text.append("")
    for part in content["parts"]:
        failed = [
            f"{line['backend']}: {line['error']}" for line in part["lines"] if "error" in line
        ]
        problems = [*failed, *filter(None, [part["problem"]])]
        text += [f"- {part['kind']} {part['name']}: {problem}" for problem in problems]
    return "\n".join(text) + "\n"


def main(
    out: Annotated[Path, typer.Argument(help="folder for gpu.json and gpu.md")],
    networks: Annotated[str, typer.Option(help="presets or files, with commas")] = PRESETS,
    seconds: Annotated[float, typer.Option(min=1, help="end by then")] = SECONDS,
    only: Annotated[str, typer.Option(help="kinds of parts, with commas")] = ",".join(MAX_SECONDS),
    tiny: Annotated[bool, typer.Option("--tiny", help="tiny sizes, without a GPU too")] = False,
) -> None:
    """See the module."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not tiny:
        raise SystemExit("bench gpu: no CUDA device; --tiny walks through it without one")
    unknown = [kind for kind in only.split(",") if kind not in MAX_SECONDS]
    if unknown:
        raise SystemExit(f"bench gpu: --only {unknown[0]}: there are {', '.join(MAX_SECONDS)}")
    end = time.monotonic() + seconds
    machine = {
        "device": torch.cuda.get_device_name() if on_gpu else "no GPU, tiny sizes",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    content: dict[str, Any] = {
        "version": __version__,
        "machine": machine,
        "tiny": tiny,
        "parts": [],
    }
    for part in parts(networks.split(","), tiny, on_gpu):
        if part.kind not in only.split(","):
            continue
        started = time.monotonic()
        left = min(end - started, MAX_SECONDS[part.kind])
        lines, problem = (
            run_part(part, left) if left >= MIN_SECONDS else ([], "left out: no time was left")
        )
        took = round(time.monotonic() - started, 1)
        content["parts"].append(
            {"kind": part.kind, "name": part.name, "s": took, "problem": problem, "lines": lines}
        )
        print(f"{part.kind} {part.name}: {len(lines)} lines in {took} s {problem}", flush=True)
        write_bytes(out / "gpu.json", json.dumps(content, indent=1).encode())
        write_bytes(out / "gpu.md", tables(content).encode())


if __name__ == "__main__":
    typer.run(main)

"""Puts results into one HTML page: figures at once, frames unpacked when they are looked at."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from renderocc_ros.files import write_whole
from renderocc_training.evaluation.results import Results

HERE = Path(__file__).parent
MARK = re.compile("@(TITLE|STYLE|SCRIPT|REPORT)@")
SCRIPTS = ("charts.js", "voxels.js", "sections.js", "app.js")
# A page of very many frames takes smaller pictures, so that it still opens at once.
MANY_FRAMES, WIDTH, SMALL_WIDTH = 150, 480, 208
QUALITY, SMALL_QUALITY = 75, 60
FRAME_SCORES = ("miou", "iou_above_ground", "iou", "view_miou", "depth_abs_rel", "flicker")
RESULT_KEYS = (
    "name",
    "model",
    "recordings",
    "rig",
    "cameras",
    "mask",
    "frames_evaluated",
    "frames_scored",
    "scores",
    "confusion",
    "rings",
    "calibration",
    "latency_ms",
    "skipped",
    "problems",
)


def write_page(results: Sequence[Results], path: Path, title: str) -> None:
    """Write the page; it needs no network and no other file.

    Args:
        results: one to four, with the same classes and grid.
        path: of the .html file.

    Raises:
        ValueError: none or too many, or their classes or grids differ.
    """
    _check(results)
    tokens = _tokens(results)
    template = (HERE / "page.html").read_text(encoding="utf-8")
    style = (HERE / "style.css").read_text(encoding="utf-8")
    script = "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": style,
        "SCRIPT": script.replace('"use strict";\n', ""),
        "REPORT": _inert(_overall(results, tokens)),
    }
    # The template is cut before anything is put in, for what is put in may look like a mark.
    head, tail = (
        MARK.sub(lambda mark: parts[mark[1]], half) for half in template.split("@FRAMES@")
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        file.write(head.encode())
        _write_frames(file, results, tokens)
        file.write(tail.encode())


def _check(results: Sequence[Results]) -> None:
    if not 1 <= len(results) <= 4:
        raise ValueError(f"{len(results)} results: one page shows one to four")
    for result in results:
        lacking = [key for key in RESULT_KEYS if key not in result.content]
        if lacking:
            raise ValueError(f"{result.folder} lacks {', '.join(lacking)}: evaluate again")
    first = results[0]
    for other in results[1:]:
        if other.class_set.names != first.class_set.names:
            raise ValueError(
                f"'{other.name}' has the classes {', '.join(other.class_set.names)}, "
                f"'{first.name}' {', '.join(first.class_set.names)}: make a page for each"
            )
        if other.grid != first.grid:
            raise ValueError(
                f"'{other.name}' has the grid {other.grid}, '{first.name}' {first.grid}: make a "
                "page for each"
            )


def _tokens(results: Sequence[Results]) -> list[str]:
    """All frames that any result has, in order of time."""
    stamps = {frame.token: frame.stamp_ns for result in results for frame in result.frames}
    if not stamps:
        raise ValueError("the results hold no frame")
    return sorted(stamps, key=lambda token: (stamps[token], token))


def _overall(results: Sequence[Results], tokens: Sequence[str]) -> dict[str, Any]:
    first = results[0]
    grid = first.grid
    return {
        "classes": [
            {"name": entry.name, "colour": list(entry.colour), "moves": entry.moves}
            for entry in first.class_set.classes
        ],
        "free": first.class_set.free_id,
        "size": list(grid.size),
        "ego": [-value / grid.resolution_m for value in grid.origin_m[:2]],
        "frames": [{"token": token} for token in tokens],
        "results": [_result(result, tokens) for result in results],
    }


def _result(result: Results, tokens: Sequence[str]) -> dict[str, Any]:
    content: dict[str, Any] = {key: result.content[key] for key in RESULT_KEYS}
    for optional in ("views", "live_agreement", "ray_iou"):
        if optional in result.content:
            content[optional] = result.content[optional]
    by_token = {frame.token: frame for frame in result.frames}
    content["frames"] = []
    for token in tokens:
        frame = by_token.get(token)
        if frame is None:
            content["frames"].append(None)
            continue
        entry: dict[str, Any] = {key: frame.scores.get(key) for key in FRAME_SCORES}
        entry["latency"] = frame.latency_ms.get("total")
        entry["missing"], entry["unscored"] = list(frame.missing), frame.unscored
        content["frames"].append(entry)
    return content


def _write_frames(file: BinaryIO, results: Sequence[Results], tokens: Sequence[str]) -> None:
    """One inert element per frame: the browser parses what is inside when it is looked at."""
    few = len(tokens) <= MANY_FRAMES
    width, quality = (WIDTH, QUALITY) if few else (SMALL_WIDTH, SMALL_QUALITY)
    for number, token in enumerate(tokens):
        frame = _frame(results, token, width, quality)
        line = f'<script type="application/json" id="frame-{number}">{_inert(frame)}</script>\n'
        file.write(line.encode())


def _frame(results: Sequence[Results], token: str, width: int, quality: int) -> dict[str, Any]:
    truth = next(filter(None, (result.truth(token) for result in results)), None)
    mask = None
    if truth is not None:
        masks = {"camera": truth.mask_camera, "lidar": truth.mask_lidar}
        mask = masks.get(results[0].content["mask"])
    predicted = [result.prediction(token) for result in results]
    return {
        "truth": None if truth is None else _packed(truth.labels),
        "mask": None if mask is None else _packed(mask.astype(np.uint8)),
        "labels": [None if p is None else _packed(p.labels) for p in predicted],
        "images": dict(_images(results[0].images(token), width, quality)),
    }


def _images(files: Mapping[str, Path], width: int, quality: int) -> Iterator[tuple[str, str]]:
    for name, path in files.items():
        content = path.read_bytes()
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{path} is no readable picture: evaluate again")
        if image.shape[1] > width:
            size = (width, round(image.shape[0] * width / image.shape[1]))
            smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            _, encoded = cv2.imencode(".jpg", smaller, (cv2.IMWRITE_JPEG_QUALITY, quality))
            content = encoded.tobytes()
        yield name, base64.b64encode(content).decode()


def _packed(volume: NDArray[np.uint8]) -> str:
    """A volume as the page unpacks it: z fastest, gzip, base64."""
    data = np.ascontiguousarray(volume).tobytes()
    return base64.b64encode(gzip.compress(data, compresslevel=6, mtime=0)).decode()


def _inert(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")

"""One recording, extracted by one process into a folder of its own beside the data set."""

from __future__ import annotations

import datetime
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renderocc_ros.config import RigConfig
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.recording.extraction.bag_extractor import BagExtractor
from renderocc_training.recording.extraction.bag_layout import find_layout
from renderocc_training.recording.extraction.key_frames import KeyFrameRule
from renderocc_training.recording.extraction.options import ExtractOptions
from renderocc_training.recording.extraction.records import SceneTables, token
from renderocc_training.recording.extraction.report import ExtractionReport
from renderocc_training.recording.extraction.scene_writer import SceneIdentity, SceneWriter

FORMAT = 2  # counted up when what is written changes
FRAGMENTS = ".extraction"
DONE = "done.json"
PROGRESS = "progress"
PROGRESS_PERIOD_S = 0.2


@dataclass(frozen=True)
class Job:
    """What one process has to do.

    Attributes:
        source: the recording.
        root: the data set's folder.
    """

    source: Path
    root: Path
    rig: RigConfig
    options: ExtractOptions

    @property
    def progress_file(self) -> Path:
        """Holds the share that is done, 0 to 1, while the job runs."""
        return self.root / FRAGMENTS / f"{token('progress', self.source.resolve())}.{PROGRESS}"


def run_job(job: Job) -> ExtractionReport:
    """Extract one recording; what an earlier run finished with the same options is kept.

    A recording that cannot be used gives a report that says why, and no scene.
    """
    try:
        with BagReader(job.source, salvage=True) as reader:
            return _extract(job, reader)
    except ValueError as error:
        return ExtractionReport(str(job.source), problems=[str(error)])
    finally:
        job.progress_file.unlink(missing_ok=True)


def _extract(job: Job, reader: BagReader) -> ExtractionReport:
    key = token(
        "recording", _name(job.source), reader.start_ns, reader.end_ns, reader.message_count
    )
    folder = job.root / FRAGMENTS / key
    wanted = token(FORMAT, job.rig.model_dump_json(), job.options.model_dump_json())
    done = finished(folder)
    if done is not None and done["options"] == wanted:
        return ExtractionReport.from_json(done["report"] | {"source": str(job.source)})
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    report = ExtractionReport(str(job.source), problems=list(reader.damage))
    layout = find_layout(reader.topics, job.rig, job.options)
    report.problems += layout.problems
    writers: list[SceneWriter] = []
    with SceneTables(folder) as tables:

        def new_scene() -> SceneWriter:
            identity = _identity(job, reader, key, len(writers) + 1)
            writers.append(SceneWriter(job.root, tables, identity))
            return writers[-1]

        rule = KeyFrameRule(job.options.key_frame_s, job.options.key_frame_m)
        extractor = BagExtractor(
            reader, layout, rule, new_scene, job.root, job.options.sweeps, report
        )
        extractor.run(_progress(job.progress_file, reader.start_ns, reader.end_ns))
    report.problems += [each for each in reader.damage if each not in report.problems]
    report.scenes = [writer.identity.name for writer in writers]
    report.key_frames = sum(writer.key_frames for writer in writers)
    report.sweeps = sum(writer.sweeps for writer in writers)
    report.boxes = sum(writer.boxes for writer in writers)
    content = {
        "options": wanted,
        "start_ns": reader.start_ns,
        "promised_samples": dict(writer.promised_sample for writer in writers),
        "report": report.as_json(),
    }
    write_atomically(folder / DONE, json.dumps(content))
    return report


def finished(folder: Path) -> dict[str, Any] | None:
    """What a finished job left in its folder."""
    file = folder / DONE
    if not file.is_file():
        return None
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def write_atomically(file: Path, text: str) -> None:
    """The file is there whole or not at all, whenever the process ends."""
    scratch = file.with_name(f".{file.name}.unfinished")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)


def _name(source: Path) -> str:
    return source.resolve().name if source.is_dir() else source.stem


def _identity(job: Job, reader: BagReader, key: str, number: int) -> SceneIdentity:
    """Names from the recording's own metadata where it has them."""
    about = reader.custom_data
    began = datetime.datetime.fromtimestamp(reader.start_ns * 1e-9, datetime.timezone.utc)
    suffix = "" if number == 1 else f"-{number}"
    return SceneIdentity(
        key=f"{key} {number}",
        name=about.get("scene", _name(job.source)) + suffix,
        description=about.get("description", ""),
        log=about.get("log", _name(job.source)),
        vehicle=about.get("vehicle", job.rig.name),
        date=about.get("date", began.strftime("%Y-%m-%d")),
        location=job.options.location or about.get("location", "unknown"),
    )


def _progress(file: Path, start_ns: int, end_ns: int) -> Callable[[int], None]:
    """Writes the share that is done now and then; another process reads it."""
    written_s = 0.0

    def advance(now_ns: int) -> None:
        nonlocal written_s
        if time.monotonic() - written_s > PROGRESS_PERIOD_S:
            written_s = time.monotonic()
            file.write_text(f"{(now_ns - start_ns) / max(1, end_ns - start_ns):.4f}")

    return advance

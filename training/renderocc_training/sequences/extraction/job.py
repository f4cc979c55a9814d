"""One recording or data set, extracted by one process into a folder of its own."""

from __future__ import annotations

import datetime
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from renderocc_ros.config import RigConfig
from renderocc_ros.files import claim, file_name, write_bytes
from renderocc_training.recording.bag_layout import find_layout
from renderocc_training.recording.bag_reader import BagReader
from renderocc_training.sequences.data_sets import DataFormat, open_sequences
from renderocc_training.sequences.extraction.bag_extractor import BagExtractor
from renderocc_training.sequences.extraction.identity import claim_key, claim_name, content_of
from renderocc_training.sequences.extraction.key_frames import KeyFrameRule
from renderocc_training.sequences.extraction.layout_extractor import SequenceExtractor
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.records import SceneTables, token
from renderocc_training.sequences.extraction.report import ExtractionReport
from renderocc_training.sequences.extraction.scene_writer import SceneIdentity, SceneWriter
from renderocc_training.sequences.model import RecordedSequence
from renderocc_training.sequences.nuscenes import FRAGMENTS
from renderocc_training.sequences.sensor_files import check_files

Layout = Literal["bag", DataFormat]

FORMAT = 4  # counted up when what is written changes
DONE = "done.json"
PROGRESS = "progress"
PROGRESS_PERIOD_S = 0.2


@dataclass(frozen=True)
class Job:
    """What one process has to do.

    Attributes:
        source: the recording, or the data set in another layout.
        root: the new data set's folder.
        rig: the cameras of a recording; None where the layout says it itself.
        layout: bag, or that of a data set.
    """

    source: Path
    root: Path
    rig: RigConfig | None
    options: ExtractOptions
    layout: Layout = "bag"

    @property
    def progress_file(self) -> Path:
        """Holds the share that is done, 0 to 1, while the job runs."""
        return self.root / FRAGMENTS / f"{token('progress', self.source.resolve())}.{PROGRESS}"


def run_job(job: Job) -> ExtractionReport:
    """Extract one recording; what an earlier run finished with the same options is kept.

    A recording that cannot be used gives a report that says why, and no scene.
    """
    try:
        if job.layout != "bag":
            return _extract_data_set(job, open_sequences(job.source, job.layout, as_recorded=True))
        with BagReader(job.source, salvage=True) as reader:
            return _extract_bag(job, reader)
    except ValueError as error:
        return ExtractionReport(str(job.source), problems=[str(error)])
    finally:
        job.progress_file.unlink(missing_ok=True)


@dataclass
class _Fragment:
    """The folder of one job while it is being filled."""

    job: Job
    key: str
    start_ns: int
    report: ExtractionReport
    writers: list[SceneWriter] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.job.root / FRAGMENTS / self.key

    @property
    def made_from(self) -> str:
        """A hash of all that decides what is written."""
        job = self.job
        rig = job.rig.model_dump_json() if job.rig else ""
        return token(FORMAT, job.layout, rig, job.options.model_dump_json())

    def earlier(self) -> ExtractionReport | None:
        """The report of an earlier run that wrote the same."""
        done = finished(self.folder)
        if done is None or done["options"] != self.made_from:
            return None
        return ExtractionReport.from_json(done["report"] | {"source": str(self.job.source)})

    def begin(self) -> None:
        """Make it, empty; raises ValueError where another process is filling it."""
        root = self.job.root
        self._claim = claim(
            root / FRAGMENTS / f".{self.key}.claim",
            f"another process extracts {self.job.source} into {root}: wait for it",
        )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def scene_key(self, number: int) -> str:
        """What tokens of the scene of this number are made from."""
        return f"{self.key} {number}"

    def claim_name(self, wanted: str) -> str:
        """The name of the next scene, which no other one in the data set has."""
        name = claim_name(self.job.root, wanted, self.scene_key(len(self.writers) + 1))
        if name != wanted and not self.writers:
            self.report.problems.append(
                f"called '{name}': the data set has another '{wanted}' already"
            )
        return name

    def new_scene(self, tables: SceneTables, about: Mapping[str, Any]) -> SceneWriter:
        """The writer of the next scene; ``about`` has what SceneIdentity names."""
        identity = SceneIdentity(key=self.scene_key(len(self.writers) + 1), **about)
        self.writers.append(SceneWriter(self.job.root, tables, identity))
        return self.writers[-1]

    def finish(self) -> ExtractionReport:
        """Mark the job as done."""
        report = self.report
        report.scenes = [writer.identity.name for writer in self.writers]
        report.key_frames = sum(writer.key_frames for writer in self.writers)
        report.sweeps = sum(writer.sweeps for writer in self.writers)
        report.boxes = sum(writer.boxes for writer in self.writers)
        content = {
            "format": FORMAT,
            "options": self.made_from,
            "start_ns": self.start_ns,
            "promised_samples": dict(writer.promised_sample for writer in self.writers),
            "report": report.as_json(),
        }
        write_bytes(self.folder / DONE, json.dumps(content).encode())
        self._claim.close()
        return report


def _extract_bag(job: Job, reader: BagReader) -> ExtractionReport:
    if job.rig is None:
        raise ValueError("a recording needs --rig: the topics and frames of its cameras")
    key = claim_key(job.root, job.source, "recording", content_of(job.source))
    report = ExtractionReport(str(job.source), problems=list(reader.damage))
    fragment = _Fragment(job, key, reader.start_ns, report)
    earlier = fragment.earlier()
    if earlier is not None:
        return earlier
    layout = find_layout(reader.topics, job.rig, job.options)
    report.problems += layout.problems
    about = _about(job, job.rig, reader)
    wanted = about["name"]
    name = fragment.claim_name(wanted)
    # Scenes of one log of nuScenes share its name; their files have other stamps.
    about["log"] = name if name != wanted else file_name(about["log"], "log")
    fragment.begin()
    with SceneTables(fragment.folder) as tables:

        def new_scene() -> SceneWriter:
            scene_name = fragment.claim_name(name)
            return fragment.new_scene(tables, about | {"name": scene_name})

        rule = KeyFrameRule(job.options.key_frame_s, job.options.key_frame_m)
        extractor = BagExtractor(
            reader,
            layout,
            rule,
            new_scene,
            job.root,
            about["log"],
            job.options.sweeps,
            report,
        )
        length_ns = max(1, reader.end_ns - reader.start_ns)
        progress = _Progress(job.progress_file)
        extractor.run(lambda now_ns: progress.tell((now_ns - reader.start_ns) / length_ns))
    report.problems += [each for each in reader.damage if each not in report.problems]
    return fragment.finish()


def _extract_data_set(job: Job, sequences: list[RecordedSequence]) -> ExtractionReport:
    report = ExtractionReport(str(job.source))
    for sequence in sequences:
        cure = "unpack the data set again"
        check_files(sequence.measurements(key_frames_only=True), cure)
        if job.options.sweeps:
            cure += ", or leave out what lies between key frames (--no-sweeps)"
            check_files(sequence.measurements(), cure)
    start_ns = min(each.stamp_ns for each in sequences[0].measurements())
    content = [frame.fingerprint for sequence in sequences for frame in sequence.frames]
    first = [content_of(each.file) for each in sequences[0].frames[0].measurements]
    key = claim_key(job.root, job.source, job.layout, content, first)
    fragment = _Fragment(job, key, start_ns, report)
    earlier = fragment.earlier()
    if earlier is not None:
        return earlier
    fragment.begin()
    progress = _Progress(job.progress_file)
    total, done = sum(map(len, sequences)), 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress.tell(done / total)

    with SceneTables(fragment.folder) as tables:
        for sequence in sequences:
            name = fragment.claim_name(_scene_name(job, sequence))
            about = {
                "name": name,
                "description": sequence.origin.description,
                "log": name,
                "vehicle": sequence.origin.vehicle,
                "date": sequence.origin.date,
                "location": job.options.location or sequence.origin.location,
                "ego_radius_m": sequence.origin.ego_radius_m,
            }
            scene = fragment.new_scene(tables, about)
            SequenceExtractor(job.root, scene, job.options, report).run(sequence, advance)
    return fragment.finish()


def _scene_name(job: Job, sequence: RecordedSequence) -> str:
    """Those of nuScenes are names already; others count from 00."""
    return sequence.name if job.layout == "nuscenes" else f"{job.layout}-{sequence.name}"


def finished(folder: Path) -> dict[str, Any] | None:
    """What a finished job left in its folder."""
    file = folder / DONE
    if not file.is_file():
        return None
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _name(source: Path) -> str:
    return source.resolve().name if source.is_dir() else source.stem


def _about(job: Job, rig: RigConfig, reader: BagReader) -> dict[str, Any]:
    """Names from the recording's own metadata where it has them."""
    known, name = reader.custom_data, _name(job.source)
    began = datetime.datetime.fromtimestamp(reader.start_ns * 1e-9, datetime.timezone.utc)
    return {
        "name": known.get("scene", name),
        "description": known.get("description", ""),
        "log": known.get("log", name),
        "vehicle": known.get("vehicle", rig.name),
        "date": known.get("date", began.strftime("%Y-%m-%d")),
        "location": job.options.location or known.get("location", "unknown"),
        "ego_radius_m": rig.ego_radius_m,
    }


class _Progress:
    """Writes the share that is done now and then; another process reads it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written_s = 0.0

    def tell(self, share: float) -> None:
        if time.monotonic() - self._written_s > PROGRESS_PERIOD_S:
            self._written_s = time.monotonic()
            self._file.write_text(f"{share:.4f}")

"""One bag to a data set, and what of a data set is compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renderocc_ros.config import RigConfig
from renderocc_training.sequences.extraction.job import Job, run_job
from renderocc_training.sequences.extraction.merge import merge_tables
from renderocc_training.sequences.extraction.options import ExtractOptions
from renderocc_training.sequences.extraction.report import ExtractionReport

VERSION = "v1.0-trainval"


def extract(bag: Path, out: Path, rig: RigConfig, **options: Any) -> ExtractionReport:
    out.mkdir(exist_ok=True)
    (out / ".extraction").mkdir(exist_ok=True)
    report = run_job(Job(bag, out, rig, ExtractOptions(**options)))
    if report.scenes:
        merge_tables(out, VERSION)
    return report


def tree(out: Path) -> dict[str, bytes]:
    """All files of a data set but the bookkeeping."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and ".extraction" not in file.parts
    }

"""What an extraction took, what it left out, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from renderocc_training.recording.left_out import LeftOut


@dataclass
class ExtractionReport:
    """Totals of one recording.

    Attributes:
        source: path of the recording.
        scenes: names of the scenes written.
        key_frames, sweeps, boxes, labels, occupancies: how many of each were written; labels are
            files, of images and of scans, occupancies are key frames with 3D truth.
        skipped: how often something was left out, by (what, why).
        problems: what is wrong with the recording as a whole, one sentence each.
    """

    source: str
    scenes: list[str] = field(default_factory=list)
    key_frames: int = 0
    sweeps: int = 0
    boxes: int = 0
    labels: int = 0
    occupancies: int = 0
    skipped: LeftOut = field(default_factory=LeftOut)
    problems: list[str] = field(default_factory=list)

    def skip(self, what: str, why: str, count: int = 1) -> None:
        """Count something that was left out."""
        self.skipped.note(what, why, count)

    def as_json(self) -> dict[str, Any]:
        """The report for a file."""
        skipped = [
            {"what": what, "why": why, "count": count}
            for (what, why), count in sorted(self.skipped.items())
        ]
        return self.__dict__ | {"skipped": skipped}

    @staticmethod
    def from_json(content: dict[str, Any]) -> ExtractionReport:
        """The way back from :meth:`as_json`."""
        skipped = LeftOut({(e["what"], e["why"]): e["count"] for e in content["skipped"]})
        return ExtractionReport(**(content | {"skipped": skipped}))

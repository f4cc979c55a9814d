"""The table of faults in docs/RELIABILITY.md, made from the catalogue."""

from __future__ import annotations

from collections.abc import Iterator

from renderocc_ros.files import between_marks
from tests.faults.catalogue import SECTIONS
from tests.faults.fault import ALL, ANSWER, Fault


def in_document(text: str) -> str:
    """A page with its table made anew.

    Raises:
        ValueError: nothing marks its place.
    """
    return between_marks(text, "faults", "\n".join(_lines()).strip())


def _lines() -> Iterator[str]:
    for title, faults in SECTIONS.items():
        yield from ("", f"### {title}", "")
        yield "| what goes wrong | where it is said | with these words | results meanwhile |"
        yield "|---|---|---|---|"
        for fault in faults:
            cells = (fault.name, _part(fault), _words(fault), _results(fault))
            yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _part(fault: Fault) -> str:
    return {"": "", ANSWER: "the answer"}.get(fault.part, f"`{fault.part}`")


def _words(fault: Fault) -> str:
    if not fault.part:
        return "nothing is wrong"
    words = [word.strip() for word in fault.says if word.strip(" :/")]
    return " … ".join(f"`{word}`" for word in words) or "why"


def _results(fault: Fault) -> str:
    if not fault.used:
        return "none"
    cameras = "of all cameras" if fault.used == ALL else f"of {', '.join(fault.used)}"
    return f"{cameras}; as wrong as what was sent" if fault.own_poses else cameras

"""Tables that benchmarks write into pages of docs/."""

from __future__ import annotations

from pathlib import Path

from renderocc_ros.files import write_bytes


def write_table(page: Path, name: str, table: str) -> None:
    """Put a table between the marks ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` of a page.

    Raises:
        ValueError: the page lacks the marks.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, has_begin, rest = page.read_text("utf-8").partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"{page} has no {begin} and {end}: put them where the table is to stand")
    write_bytes(page, f"{before}{begin}\n\n{table}\n\n{end}{after}".encode())

"""How often something of a recording was left out, and why."""

from __future__ import annotations

import re
from collections import Counter

NUMBER = re.compile(r"\d+(\.\d+)?")


class LeftOut(Counter[tuple[str, str]]):
    """Counts by (what, why).

    Reasons that differ in numbers alone, such as stamps, are counted as one, in the words of the
    first, so names and numbers can be read and a long recording still gives few lines.
    """

    def note(self, what: str, why: str, count: int = 1) -> None:
        """Count something that was left out."""
        if not count:
            return
        form = NUMBER.sub("#", why)
        alike = (text for place, text in self if place == what and NUMBER.sub("#", text) == form)
        self[what, next(alike, why)] += count

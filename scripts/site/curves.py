"""Curves of the documents as pictures: GitHub draws Mermaid's `xychart-beta`, the site has no
script that does."""

from __future__ import annotations

import re
from html import escape

CHART = re.compile(r"```mermaid\nxychart-beta\n(.*?)\n```", re.DOTALL)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, INSET = 640, 260, 48, 16, 40, 32, 24


def drawn(markdown: str) -> str:
    """The page with an SVG in the place of each chart of one line."""
    return CHART.sub(lambda match: _svg(match[1]), markdown)


def _svg(chart: str) -> str:
    title = re.search(r'title "(.*)"', chart)
    heading = escape(title[1]) if title else ""
    lists = dict(re.findall(r"(x-axis|line) \[(.*)\]", chart))
    low, high = map(float, re.findall(r"y-axis (\S+) --> (\S+)", chart)[0])
    x, y = ([float(each) for each in lists[name].split(",")] for name in ("x-axis", "line"))

    def across(value: float) -> float:
        part = (value - min(x)) / (max(x) - min(x))
        return LEFT + INSET + part * (WIDTH - LEFT - RIGHT - 2 * INSET)

    def down(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    places = [(across(a), down(b)) for a, b in zip(x, y, strict=True)]
    parts = [
        f'<text x="{WIDTH / 2}" y="18" text-anchor="middle">{heading}</text>',
        f'<path d="M{LEFT} {TOP} V{down(low):.1f} H{WIDTH - RIGHT}" fill="none" '
        'stroke="currentColor" opacity="0.5"/>',
        *(
            f'<text x="{LEFT - 8}" y="{down(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
            for value in (low, high)
        ),
        f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}" fill="none" '
        'stroke="#009485" stroke-width="2"/>',
    ]
    for (a, b), at, value in zip(places, x, y, strict=True):
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="#009485"/>',
            f'<text x="{a:.1f}" y="{b - 10:.1f}" text-anchor="middle">{value:g}</text>',
            f'<text x="{a:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{at:g}</text>',
        ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" style="max-width: 100%" role="img" '
        f'fill="currentColor" font-size="13">{"".join(parts)}</svg>'
    )

"""What mkdocs adds to docs/: reference pages made from the code, and files that the pages link to.

Pages link to files beside docs/ (configuration, messages, sources) by relative paths, as they work
in a checkout. On the site each such file becomes a page of its own.
"""

from __future__ import annotations

import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))
import curves
import reference

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
FENCES = {".py": "python", ".yaml": "yaml", ".msg": "text", ".txt": "text", ".sh": "bash"}


def on_files(files: Files, config: Any) -> Files:
    """Add the reference pages, then a page for each file of the repository that a page links to."""
    for name, text in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        page = waiting.pop()
        for target in _outside(page):
            name = _page_of(target)
            if name not in files.src_uris:
                added = File.generated(config, name, content=_shown(target))
                files.append(added)
                waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links that leave docs/ to the pages made for their targets, and draw curves."""

    def replaced(match: re.Match[str]) -> str:
        target = _resolve(page.file.src_uri, match[2])
        if target is None:
            return match[0]
        here = posixpath.dirname(page.file.src_uri)
        return f"{match[1]}{posixpath.relpath(_page_of(target), here)}{match[3] or ''}{match[4]}"

    return curves.drawn(LINK.sub(replaced, markdown))


def _outside(page: File) -> list[str]:
    targets = (_resolve(page.src_uri, match[2]) for match in LINK.finditer(page.content_string))
    return [target for target in targets if target is not None]


def _resolve(page: str, link: str) -> str | None:
    """The file in the repository that a page's link names, if it lies outside docs/."""
    if re.match(r"\w+:|/|<", link):
        return None
    place = page.removeprefix("repository/") if page.startswith("repository/") else f"docs/{page}"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(place), link))
    if path.startswith("docs/") and not page.startswith("repository/"):
        return None
    return path if (ROOT / path).exists() else None


def _page_of(path: str) -> str:
    """The source of the site's page that shows a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    shown = path.lstrip(".")  # the site leaves hidden folders out
    return f"repository/{shown}" if path.endswith(".md") else f"repository/{shown}.md"


def _shown(path: str) -> str:
    """A Markdown file as it is, any other file in a code block, a folder as a list."""
    file = ROOT / path
    if file.is_dir():
        names = sorted(name for name in os.listdir(file) if not name.startswith(("__", ".")))
        return "\n".join([f"# {path}", "", *(f"- `{name}`" for name in names)]) + "\n"
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    return f"# {file.name}\n\n`{path}`\n\n````{FENCES.get(file.suffix, 'text')}\n{text}````\n"

"""Containers, CI's files and the changelog agree with what they stand for."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.contracts.checkout import ROOT, package_xml

WORKFLOWS = ROOT / ".github" / "workflows"


def test_the_commit_hooks_lint_with_the_pinned_ruff() -> None:
    pinned = re.search(r"^ruff==\S+", (ROOT / "requirements/constraints.txt").read_text(), re.M)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    wanted = [hook["additional_dependencies"] for hook in hooks if hook["id"].startswith("ruff")]
    assert pinned is not None and wanted == [[pinned[0]], [pinned[0]]]


def test_ci_runs_on_every_distribution_that_we_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts" / "workspace")
    own = runpy.run_path(str(ROOT / "scripts" / "workspace" / "layout.py"))["DISTROS"]
    jobs = yaml.safe_load((WORKFLOWS / "ci.yml").read_text())["jobs"]
    tested = jobs["ros"]["strategy"]["matrix"]["distro"]
    released = yaml.safe_load((WORKFLOWS / "release.yml").read_text())["jobs"]["containers"]
    assert sorted(tested) == sorted({*own, "lyrical"})
    assert released["strategy"]["matrix"]["distro"] == tested


def test_changelog_and_citation_name_the_version() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    assert newest is not None and newest[1] == cited == package_xml().findtext("version")


def test_the_image_copies_what_there_is() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    sources = re.findall(r"^COPY (\S+) ", dockerfile, re.M)
    assert sources and all((ROOT / source).exists() for source in sources)
    extras = re.search(r'^ARG EXTRAS="(.+)"', dockerfile, re.M)
    assert extras is not None
    assert all((ROOT / "requirements" / f"{name}.txt").exists() for name in extras[1].split())


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = {page for page in _leaves(menu) if not page.startswith("reference/")}
    assert pages == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


def _leaves(menu: list[Any]) -> Iterator[str]:
    for entry in menu:
        if isinstance(entry, str):
            yield entry
        else:
            for below in entry.values():
                yield from [below] if isinstance(below, str) else _leaves(below)

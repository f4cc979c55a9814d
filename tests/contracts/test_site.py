"""The reference pages of the documentation site say what the code says."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from renderocc_ros.cli import GROUPS
from tests.contracts.checkout import ROOT
from tests.contracts.test_imports import LAYERS


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts" / "site"))
    return importlib.import_module("reference")


@pytest.mark.ros
def test_reference_pages_follow_the_code(reference: ModuleType) -> None:
    pages = reference.pages()
    for name in (name for names in GROUPS.values() for name in names):
        assert f"### renderocc {name}\n" in pages["commands"]
    assert "### renderocc labels make\n" in pages["commands"]
    assert "| `--checkpoint` |  | model to run" in pages["commands"]
    assert "| `marker_limit` | `50000` | 1 to 10,000,000 |" in pages["parameters"]
    assert "| `sync.missing` |" in pages["parameters"]
    assert "uint8 UNKNOWN=255" in pages["messages"]
    assert "### `architecture.depth.stereo`\n" in pages["configuration"]
    assert '| `missing` | `wait`, `skip`, `mask`, `reuse` | `"mask"` |' in pages["configuration"]


def test_help_becomes_markdown_that_shows_every_letter(reference: ModuleType) -> None:
    help_text = (
        "Write ``x_1``.\n\nsee <out>/a_b[0]\n\nExample: renderocc labels show <out> --set a[0]=b"
    )
    shown = list(reference._paragraphs(help_text))
    assert shown[:4] == ["Write `x_1`.", "", "see &lt;out>/a\\_b\\[0]", ""]
    assert shown[4:7] == ["```", "renderocc labels show <out> --set a[0]=b", "```"]


def test_links_out_of_the_documents_lead_to_pages_of_their_own() -> None:
    pytest.importorskip("mkdocs", reason="pip install -r requirements/docs.txt")
    sys.path.insert(0, str(ROOT / "scripts" / "site"))
    hooks = importlib.import_module("hooks")
    assert hooks._resolve("nav2.md", "../config/node.yaml") == "config/node.yaml"
    assert hooks._resolve("nav2.md", "evaluate.md") is None
    assert hooks._resolve("repository/SECURITY.md", "package.xml") == "package.xml"
    assert hooks._page_of("config/node.yaml") == "repository/config/node.yaml.md"
    assert hooks._page_of("docs/train.md") == "train.md"
    assert hooks._shown("config/node.yaml").startswith("# node.yaml\n")


CHART = """```mermaid
xychart-beta
  title "a < b"
  x-axis [0, 1, 4]
  y-axis 0 --> 10
  line [0, 10, 5]
```"""


def test_curves_are_drawn_where_their_numbers_are() -> None:
    sys.path.insert(0, str(ROOT / "scripts" / "site"))
    curves = importlib.import_module("curves")
    page = (ROOT / "docs" / "RESULTS.md").read_text("utf-8")
    drawn = curves.drawn(page)
    assert drawn.count("<svg") == page.count("```mermaid") >= 1
    assert "```mermaid" not in drawn
    picture = ElementTree.fromstring(curves.drawn(CHART))
    points = picture.findall("polyline")[0].attrib["points"].split()
    places = np.array([each.split(",") for each in points], float)
    left, right = places[0, 0], places[2, 0]
    np.testing.assert_allclose(places[1], [left + (right - left) / 4, places[:, 1].min()])
    assert places[2, 1] == places[:2, 1].mean()  # halfway up
    assert [each.text for each in picture.findall("text")][:3] == ["a < b", "0", "10"]


@pytest.mark.parametrize("package", LAYERS)
def test_the_architecture_page_draws_the_layers_of_the_import_test(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = [f"| {', '.join(f'`{part}`' for part in line)} |" for line in LAYERS[package]]
    table = "\n".join([f"| {package} |", "|---|", *rows])
    assert table in page, f"docs/architecture.md needs this table:\n{table}"


def test_the_architecture_page_names_files_that_are_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    roots = (ROOT / "renderocc_ros", ROOT / "training" / "renderocc_training", ROOT)
    named = set(re.findall(r"[a-z_0-9/]+/(?:[a-z_0-9]+\.py)?(?=[ ,;:.]|$)", page, re.M))
    assert len(named) > 20
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []

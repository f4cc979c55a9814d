"""`renderocc report`, opened in a headless Chromium."""

from __future__ import annotations

import errno
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from renderocc_ros.class_set import ClassSet
from renderocc_ros.cli import app
from renderocc_training.evaluation.results import read_results
from renderocc_training.report import page
from tests.report.conftest import CAR, GRID, write_results

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")

# Looks at what has been drawn and writes it where --dump-dom shows it.
PROBE = """
<script>
const probe = setInterval(() => {
  if (document.body.dataset.ready === undefined) return;
  clearInterval(probe);
  const canvases = [...document.querySelectorAll("figure canvas")].map((canvas) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const count = {};
    for (let i = 0; i < pixels.length; i += 4) {
      const [r, g, b] = [pixels[i], pixels[i + 1], pixels[i + 2]];
      const road = r > 150 && b > 150 && g < 90, car = b > 140 && r < 80 && g > 80;
      const kind = road ? "road" : car ? "car" : "other";
      count[kind] = (count[kind] || 0) + 1;
    }
    return { name: canvas.nextSibling.textContent, kind: canvas.className, width: canvas.width,
      height: canvas.height, count };
  });
  const found = { canvases, overflow: document.documentElement.scrollWidth - innerWidth,
    images: [...document.images].map((i) => i.naturalWidth) };
  document.body.append(Object.assign(document.createElement("pre"),
    { id: "probe", textContent: JSON.stringify(found) }));
}, 50);
</script>
"""


def report(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["report", *map(str, arguments)])
    return result.exit_code, result.stderr


def opened(page: Path, width: int = 1300, fragment: str = "") -> tuple[str, dict]:
    """The page's elements once its scripts have run, and what has been drawn."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--window-size={width},2000",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"{probed.as_uri()}{fragment}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    result = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S)
    assert result, f"the page never became ready:\n{done.stderr[-2000:]}"
    return done.stdout, json.loads(html.unescape(result[1]))


def text_of(dom: str, section: str) -> str:
    part = re.search(rf'<section[^>]*id="{section}".*?</section>', dom, re.S)
    assert part, f"no section {section}"
    return html.unescape(re.sub(r"<[^>]+>", " ", part[0]))


@needs_chromium
def test_the_page_shows_the_scores_and_the_worst_frame(before: Path, tmp_path: Path) -> None:
    code, err = report(before, "--out", tmp_path / "page", "--title", "Town & country")
    assert code == 0, err
    file = tmp_path / "page" / "index.html"
    dom, seen = opened(file)
    results = read_results(before)
    scores = results.content["scores"]
    tiles = text_of(dom, "tiles")
    shown = re.findall(r"([\w ,…]+?) %\s+([\d.–]+)\s+best constant ([\d.–]+)", tiles)
    names = ("mIoU", "IoU above ground", "… precision", "… recall")
    assert [" ".join(name.split()) for name, *_ in shown[:4]] == list(names)
    for place, key in ((0, "miou"), (1, "iou_above_ground"), (-1, "iou")):
        expected = [f"{100 * each[key]:.1f}" for each in (scores, scores["best_constant"])]
        assert list(shown[place][1:]) == expected
    assert f"{100 * scores['class_iou']['driveable_surface']:.1f}" in text_of(dom, "classes")
    assert "driveable_surface predicted as free" in dom
    assert "images of LEFT" in text_of(dom, "skipped") and "<late>" in text_of(dom, "skipped")
    # Frame 2 lacks the most road, so it is shown first.
    assert "Frame 2 of 3: drive_1001" in text_of(dom, "frames")
    assert html.unescape(re.search("<h1>(.*?)</h1>", dom)[1]) == "Town & country"
    assert seen["images"] == [80, 80]


@needs_chromium
def test_results_of_before_there_were_constants_are_shown_without(
    before: Path, tmp_path: Path
) -> None:
    path = before / "results.json"
    content = json.loads(path.read_text())
    for scores in (content["scores"], *content["rings"]):
        del scores["best_constant"]
    path.write_text(json.dumps(content))
    assert report(before, "--out", tmp_path / "page")[0] == 0
    dom, _ = opened(tmp_path / "page" / "index.html")
    assert "best constant –" in text_of(dom, "tiles")
    assert f"{100 * content['scores']['miou']:.1f}" in text_of(dom, "tiles")


@needs_chromium
def test_voxels_are_drawn_cell_by_cell(before: Path, tmp_path: Path) -> None:
    assert report(before, "--out", tmp_path / "page.html")[0] == 0
    _, seen = opened(tmp_path / "page.html", fragment="#frame=1")
    above = {c["name"]: c for c in seen["canvases"] if c["kind"] == "above"}
    beside = {c["name"]: c for c in seen["canvases"] if c["kind"] == "perspective"}
    truth = above["truth"]
    assert (truth["width"], truth["height"]) == (GRID.size[1], GRID.size[0])
    # From above: 20 x 8 cells of road less 3 x 2 under the car; the robot's mark hides a few.
    assert truth["count"]["car"] == 6
    assert 144 <= truth["count"]["road"] <= 154
    missing = truth["count"]["road"] - above["prediction"]["count"]["road"]
    assert missing == 2 * 8
    assert beside["truth"]["count"]["road"] > beside["prediction"]["count"]["road"] > 1000
    assert beside["truth"]["count"]["car"] == beside["prediction"]["count"]["car"] > 50


@needs_chromium
def test_two_results_stand_side_by_side(before: Path, after: Path, tmp_path: Path) -> None:
    assert report(before, after, "--out", tmp_path / "page")[0] == 0
    dom, seen = opened(tmp_path / "page" / "index.html")
    names = [c["name"] for c in seen["canvases"] if c["kind"] == "above"]
    assert names == ["truth", "before", "after", "errors of before", "errors of after"]
    first, second = (
        read_results(folder).content["scores"]["class_iou"]["driveable_surface"]
        for folder in (before, after)
    )
    assert f"+{100 * (second - first):.1f}" in text_of(dom, "classes")


@needs_chromium
def test_a_phone_needs_no_scrolling_sideways(before: Path, tmp_path: Path) -> None:
    assert report(before, "--out", tmp_path / "page")[0] == 0
    _, seen = opened(tmp_path / "page" / "index.html", width=500)
    assert seen["overflow"] <= 0


def test_the_page_asks_nobody_for_anything(before: Path, tmp_path: Path) -> None:
    assert report(before, "--out", tmp_path / "page")[0] == 0
    text = (tmp_path / "page" / "index.html").read_text()
    addresses = set(re.findall(r"https?://[^\"'\s)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"'](?!data:)", text)


def test_results_that_cannot_stand_side_by_side_are_refused(
    before: Path, occ3d: ClassSet, tmp_path: Path
) -> None:
    other = write_results(tmp_path / "other", occ3d, {})
    path = other / "results.json"
    content = json.loads(path.read_text())
    content["grid"]["resolution_m"] = 0.5
    path.write_text(json.dumps(content))
    code, err = report(before, other, "--out", tmp_path / "page")
    assert code == 1 and "'other' has the grid" in err
    content["classes"][CAR]["name"] = "automobile"
    path.write_text(json.dumps(content))
    code, err = report(before, other, "--out", tmp_path / "page")
    assert code == 1 and "automobile" in err


def test_a_full_disk_leaves_the_page_that_was_there(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report(before, "--out", tmp_path / "page")[0] == 0
    present = (tmp_path / "page" / "index.html").read_text()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(page, "_write_frames", full)
    code, err = report(before, "--out", tmp_path / "page")
    assert code == 1
    assert re.search("No space left on device: .*index.html'; free some space", err), err
    assert [file.name for file in (tmp_path / "page").iterdir()] == ["index.html"]
    assert (tmp_path / "page" / "index.html").read_text() == present


def test_a_result_called_like_a_mark_of_the_template(tmp_path: Path, occ3d: ClassSet) -> None:
    """Only the template's own marks are filled in."""
    names = ("@FRAMES@", "@REPORT@", "@TITLE@", "@SCRIPT@")
    results = [write_results(tmp_path / name, occ3d, {}) for name in names]
    code, err = report(*results, "--out", tmp_path / "page")
    assert code == 0, err
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count(f"<h1>{' · '.join(names)}</h1>") == 1
    assert text.count('<script type="application/json" id="frame-') == 3
    assert text.count('id="report"') == 1
    shown = re.search(r'id="report">(.*?)</script>', text)
    assert shown and [each["name"] for each in json.loads(shown[1])["results"]] == list(names)


def test_what_is_no_result_is_refused(before: Path, tmp_path: Path) -> None:
    code, err = report(tmp_path, "--out", tmp_path / "page")
    assert code == 1 and "has no results.json" in err
    (before / "results.json").write_text("{")
    code, err = report(before, "--out", tmp_path / "page")
    assert code == 1 and "is broken" in err

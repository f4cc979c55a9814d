"""Commands that a Ray cluster of two machines does the work of; a machine's worker is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from renderocc_ros import processes
from renderocc_ros.cli import app
from renderocc_ros.processes import workers
from renderocc_simulation.drive import write_drive
from renderocc_simulation.spec import DriveSpec
from renderocc_simulation.world.town import TownSpec
from tests.sequences.extraction.extracting import tree

pytestmark = pytest.mark.slow
RIG = ("--rig", "two_cameras")
LABELS = [f"--labels={kind}=/ground_truth/{{camera}}/{kind}" for kind in ("classes", "depth")]
EXTRACT = (*RIG, *LABELS, "--json")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes on this machine, of one core each."""
    pytest.importorskip("ray", reason="extra 'ray' is not installed")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


@pytest.fixture(scope="module")
def drives(drive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    second = tmp_path_factory.mktemp("drives") / "village"
    town = TownSpec(seed=6, seconds=2, traffic=2, walkers=2)
    write_drive(DriveSpec(town, rig="two_cameras", preset="tiny"), second)
    return [drive, second]


@pytest.fixture(scope="module")
def data(cluster: str, drives: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both drives, extracted on the cluster."""
    root = tmp_path_factory.mktemp("data") / "set"
    report = json.loads(run("extract", *drives, *EXTRACT, "--out", root, "--ray", cluster))
    assert [each["key_frames"] for each in report["recordings"]] == [4, 4]
    return root


def run(*words: str | Path) -> str:
    """Run a command; gives the last line of what it prints."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout.strip().rpartition("\n")[2]


def test_what_a_killed_worker_had_in_hand_is_done_once_more_and_nothing_else(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "RETRIES", 1)

    def square(number: int, deadly: int, times: int) -> int:
        with (tmp_path / str(number)).open("a") as file:
            file.write("x")
        if number == deadly and (tmp_path / str(number)).stat().st_size <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    numbers = range(6)
    with workers(1, cluster, len(numbers)) as pool:
        assert list(pool.map(square, numbers, [3] * 6, [1] * 6)) == [0, 1, 4, 9, 16, 25]
        sizes = [(tmp_path / str(number)).stat().st_size for number in numbers]
        assert sizes == [1, 1, 1, 2, 1, 1]
        with pytest.raises(ValueError, match="died 2 times at square"):
            pool.submit(square, 7, 7, 100).result()


def test_workers_see_our_folder_begin_as_told_and_tell_mistakes(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def begin(text: str) -> None:
        if text == "no":
            raise ValueError("no checkpoint at model.safetensors")
        os.environ["RENDEROCC_BEGUN"] = text

    def look() -> tuple[str, str]:
        return os.getcwd(), os.environ["RENDEROCC_BEGUN"]

    def fail() -> None:
        raise ValueError("camera 'front': no image")

    with workers(1, cluster, 1, begin, ("yes",)) as pool:
        assert pool.submit(look).result() == (str(tmp_path), "yes")
        with pytest.raises(ValueError, match="^camera 'front': no image$"):
            pool.submit(fail).result()
    with (
        pytest.raises(ValueError, match="^no checkpoint at model.safetensors$"),
        workers(1, cluster, 1, begin, ("no",)) as pool,
    ):
        pool.submit(look).result()
    with (
        pytest.raises(ValueError, match="--device cuda: the Ray cluster has no GPU"),
        workers(1, cluster, 1, device="cuda"),
    ):
        pass


def test_a_data_set_is_the_same(data: Path, drives: list[Path], tmp_path: Path) -> None:
    run("extract", *drives, *EXTRACT, "--out", tmp_path / "here", "--processes", "1")
    assert tree(tmp_path / "here") == tree(data)


def test_labels_are_the_same_and_none_is_made_twice(
    cluster: str, data: Path, tmp_path: Path
) -> None:
    """The workers are killed as soon as the first labels are there."""
    here, there = tmp_path / "here", tmp_path / "there"
    common = ("labels", "make", data, "--label-source", "images")
    run(*common, "--out", here)
    at_the_kill: dict[Path, int] = {}

    def kill() -> None:
        while not (files := list(there.glob("*/*.npz"))):
            stop.wait(0.01)
            if stop.is_set():
                return
        at_the_kill.update({file: file.stat().st_mtime_ns for file in files})
        for pid in ray_workers():
            os.kill(pid, signal.SIGKILL)

    stop, killer = threading.Event(), threading.Thread(target=kill)
    killer.start()
    run(*common, "--out", there, "--ray", cluster)
    stop.set()
    killer.join()
    assert at_the_kill
    assert {file: file.stat().st_mtime_ns for file in at_the_kill} == at_the_kill
    files = sorted(path.relative_to(here) for path in here.glob("*/*.npz"))
    assert files == sorted(path.relative_to(there) for path in there.glob("*/*.npz"))
    for file in files:
        with np.load(here / file) as mine, np.load(there / file) as theirs:
            for name in mine.files:
                np.testing.assert_array_equal(mine[name], theirs[name])


def ray_workers() -> list[int]:
    """Processes on this machine that do jobs of ours on a cluster."""
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if command.startswith(b"ray::_RayWorker"):
            pids.append(int(process.name))
    return pids


def test_truth_is_the_same(cluster: str, data: Path, tmp_path: Path) -> None:
    common = ("truth", data, "--semantics", "none", "--grid", "nano", "--out")
    run(*common, tmp_path / "here", "--processes", "2")
    run(*common, tmp_path / "there", "--ray", cluster)
    files = [path.relative_to(tmp_path / "here") for path in tmp_path.glob("here/*/*/labels.npz")]
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def test_scores_are_the_same(
    cluster: str, drives: list[Path], evaluated: tuple[Path, Any], tmp_path: Path
) -> None:
    common = ("evaluate", "nano", *drives, drives[0], *RIG, "--threads", "1", "--views")
    run(*common, "--out", tmp_path / "there", "--ray", cluster)
    alone = json.loads((evaluated[0] / "results" / "results.json").read_text())
    both = json.loads((tmp_path / "there" / "results.json").read_text())
    name = drives[0].name
    assert [frame["source"] for frame in both["frames"]] == [
        source for source in (name, drives[1].name, f"{name}-2") for _ in range(4)
    ]
    assert f"called '{name}-2', there is another '{name}'" in "".join(both["problems"])
    for mine, theirs in zip(alone["frames"], both["frames"], strict=False):
        assert mine | {"latency_ms": 0} == theirs | {"latency_ms": 0}
    predictions = {path.name for path in (tmp_path / "there" / "predictions").iterdir()}
    assert predictions == {f"{frame['token']}.npz" for frame in both["frames"]}


def test_what_only_one_process_can_write_is_refused(drives: list[Path], tmp_path: Path) -> None:
    words = ["evaluate", "nano", str(drives[0]), "--out", str(tmp_path / "out"), "--ray", "local"]
    result = CliRunner().invoke(app, [*words, "--bag", str(tmp_path / "bag")])
    assert "leave out --live and --bag" in result.output

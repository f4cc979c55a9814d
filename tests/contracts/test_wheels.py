"""Wheel and sdist, installed where there is nothing: each extra does what it promises."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("RENDEROCC_WHEELS"),
        reason="installs PyTorch nine times: RENDEROCC_WHEELS=1 runs it",
    ),
]
Run = Callable[..., str]
LABELS = tuple(
    word
    for kind in ("depth", "classes")
    for word in ("--labels", f"{kind}=/ground_truth/{{camera}}/{kind}")
)
# As ./run has it; without a pin pip would bring the newest, with gigabytes of CUDA.
PINS = [line for line in (ROOT / "requirements" / "constraints.txt").read_text().splitlines()
        if line.startswith("torch==")]  # fmt: skip
TRAINED = "train/model.safetensors"


def clean_environment(folder: Path) -> dict[str, str]:
    """This process's environment without Python's and ROS's search paths."""
    ours = ("PYTHONPATH", "AMENT_PREFIX_PATH", "LD_LIBRARY_PATH", "ROS_DISTRO", "DISPLAY")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    kept.setdefault("PIP_CACHE_DIR", str(Path.home() / ".cache" / "pip"))
    return kept | {"HOME": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def call(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    pytest.importorskip("setuptools", reason="builds the package")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    call([sys.executable, "setup.py", "-q", "sdist", "--dist-dir", str(out)], source)
    (sdist,) = out.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    call([*pip, "-w", str(out), str(sdist)], out)
    return out


@pytest.fixture
def install(built: Path, tmp_path: Path) -> Callable[..., Run]:
    """Installs the wheel or the sdist with extras into an empty environment."""

    def installed(extras: str, pattern: str = "*.whl") -> Run:
        venv.create(tmp_path / "venv", with_pip=shutil.which("uv") is None)
        programs = tmp_path / "venv" / "bin"
        (package,) = built.glob(pattern)
        (tmp_path / "pins.txt").write_text("\n".join(PINS))
        python = str(programs / "python")
        pip = [python, "-m", "pip", "install"]
        if uv := shutil.which("uv"):  # links what it has in its cache: seconds for minutes
            pip = [uv, "pip", "install", "--python", python]
        call([*pip, "-q", "-c", "pins.txt", f"{package}{extras}"], tmp_path)

        def run(program: str, *arguments: str) -> str:
            return call([str(programs / program), *arguments], tmp_path)

        return run

    return installed


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("extras", "pattern"),
    [("[train]", "*.whl"), ("[train]", "*.tar.gz"), ("[train,label,view,export]", "*.whl")],
)
def test_training_goes_from_a_drive_to_a_report(
    install: Callable[..., Run], tmp_path: Path, extras: str, pattern: str
) -> None:
    run = install(extras, pattern)
    tiny = ("--preset", "tiny", "--seconds", "2", "--rig", "two_cameras")
    run("renderocc", "simulate", "drive", *tiny)
    run("renderocc", "check-truth", "drive")
    run("renderocc", "extract", "drive", "--rig", "two_cameras", "--out", "data", *LABELS)
    source = ("--label-source", "images")
    run("renderocc", "labels", "show", "data", "--out", "png", "--frames", "1", *source)
    assert list((tmp_path / "png").glob("*.png"))
    run(
        "renderocc", "train", "data", "--out", "train", "--recipe", "debug", "--steps", "3",
        "--workers", "0", "--set", "rays.auxiliary_frames=[-1]", *source,
    )  # fmt: skip
    run("renderocc", "evaluate", TRAINED, "drive", "--rig", "two_cameras", "--out", "results")
    run("renderocc-train", "report", "results", "--out", "report")
    assert (tmp_path / "report" / "index.html").stat().st_size > 50_000
    if "view" in extras:
        run("renderocc", "view", "results", "--save", "results.png")
        run("renderocc", "export", TRAINED, "--onnx", "trained.onnx", "--cameras", "2")
        assert (tmp_path / "results.png").stat().st_size > 10_000
        assert (tmp_path / "trained.onnx").is_file()


@pytest.mark.timeout(900)
def test_view_alone_shows_a_bag(install: Callable[..., Run], tmp_path: Path) -> None:
    from renderocc_simulation.drive import write_drive
    from renderocc_simulation.spec import DriveSpec
    from renderocc_simulation.world.town import TownSpec

    town = TownSpec(seed=5, seconds=1, traffic=2, walkers=2)
    write_drive(DriveSpec(town, rig="two_cameras", preset="tiny"), tmp_path / "drive")
    run = install("[view]")
    assert int(run("python", "-c", "import numpy; print(numpy.__version__)").split(".")[0]) >= 2
    for name in ("drive.png", "drive.mp4", "drive.rrd"):
        run("renderocc", "view", "drive", "--rig", "two_cameras", "--save", name)
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.timeout(900)
def test_export_alone_exports_a_model_that_runs(
    install: Callable[..., Run], tmp_path: Path
) -> None:
    run = install("[export]")
    run("renderocc", "export", "nano", "--onnx", "nano.onnx", "--cameras", "2")
    assert "onnxruntime" in run(
        "renderocc", "benchmark", "nano.onnx", "--sets", "1", "--cameras", "2", "--threads", "1"
    )


@pytest.mark.timeout(900)
def test_labels_of_models_alone(install: Callable[..., Run]) -> None:
    run = install("[label]")
    modules = ("segmentation", "mono_depth", "label_source")
    names = ", ".join(f"renderocc_training.supervision.labels.{name}" for name in modules)
    run("python", "-c", f"import {names}")


@pytest.mark.timeout(900)
def test_ray_alone_extracts_on_a_cluster(install: Callable[..., Run], tmp_path: Path) -> None:
    run = install("[ray]")
    tiny = ("--preset", "tiny", "--seconds", "1", "--rig", "two_cameras")
    for name in ("monday", "tuesday"):
        run("renderocc", "simulate", name, *tiny)
    run(
        "renderocc", "extract", "monday", "tuesday", "--rig", "two_cameras", "--out", "data",
        "--ray", "local",
    )  # fmt: skip
    assert (tmp_path / "data" / "v1.0-trainval" / "scene.json").is_file()


@pytest.mark.timeout(900)
def test_test_alone_brings_what_checks_the_code(install: Callable[..., Run]) -> None:
    run = install("[test]")
    for program in ("pytest", "mypy", "ruff"):
        run(program, "--version")


@pytest.mark.timeout(900)
def test_nothing_but_the_core(install: Callable[..., Run], tmp_path: Path) -> None:
    run = install("")
    assert "nuscenes-to-bag" in run("renderocc", "--help")
    assert "occ3d" in run("renderocc", "info", "nano")
    failed = subprocess.run(
        [tmp_path / "venv" / "bin" / "renderocc", "simulate", "drive"],
        env=clean_environment(tmp_path), cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert failed.returncode == 1
    assert "pip install 'renderocc-ros[train]'" in failed.stderr

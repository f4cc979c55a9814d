"""What is shipped is complete and agrees with itself, in the source tree, in pip and in ROS."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import renderocc_ros
from tests.contracts.checkout import PACKAGES, ROOT, package_xml

FOLDERS = ("renderocc_ros", "training", "config", "msg", "weights", "requirements")


def test_versions_agree() -> None:
    declared = package_xml().findtext("version")
    assert declared is not None and re.fullmatch(r"\d+\.\d+\.\d+", declared)
    assert renderocc_ros.__version__ == declared  # setup.py reads package.xml itself
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    changes = re.findall(r"^## \[?v?([\d.]+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert cited == declared and declared in changes


def test_every_message_is_generated() -> None:
    named = set(re.findall(r'"(msg/\w+\.msg)"', (ROOT / "CMakeLists.txt").read_text()))
    assert named == {f"msg/{path.name}" for path in (ROOT / "msg").iterdir()}


def test_every_yaml_file_parses_to_a_mapping() -> None:
    files = sorted((ROOT / "config").rglob("*.yaml"))
    assert files
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict), file


def test_every_pin_of_ros_is_exact() -> None:
    for distro in ("jazzy", "kilted"):
        text = (ROOT / "requirements" / f"ros-{distro}.txt").read_text()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"ros-[\w-]+(\[fastrtps\])?==[\d.]+", line) for line in lines)
        assert any(line.startswith("ros-rclpy[fastrtps]==") for line in lines)


def test_every_requirement_is_pinned() -> None:
    """./run installs what requirements/*.txt name in the versions of constraints.txt."""
    pinned = _names("constraints")
    for name in ("core", "train", "label", "export", "video", "view", "ray", "test", "ros-tools"):
        assert _names(name) <= pinned, name


def _names(file: str) -> set[str]:
    text = (ROOT / "requirements" / f"{file}.txt").read_text()
    return {result.lower() for result in re.findall(r"^([\w.-]+?)(?:\[|[<>=]=?|$)", text, re.M)}


@pytest.mark.parametrize("name", ["renderocc", "renderocc-train"])
def test_a_worker_process_can_import_the_command(name: str) -> None:
    """Spawned workers run the script again under another name, which must not start it anew."""
    made = runpy.run_path(str(ROOT / "scripts" / name), run_name="__mp_main__")
    assert callable(made["main"])


@pytest.fixture(scope="module")
def pip_installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `pip install .` filled, from a copy of the source tree."""
    pytest.importorskip("setuptools", reason="builds the package")
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "package.xml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("pip")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    options = ["--no-deps", "--no-build-isolation", "--target", str(target)]
    done = subprocess.run([*pip, *options, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_pip_installs_all_but_the_node(pip_installed: Path) -> None:
    for package, root in PACKAGES.items():
        sources = {path.relative_to(root) for path in (root / package).rglob("*.py")}
        expected = {path for path in sources if path.parts[:2] != ("renderocc_ros", "node")}
        result = (pip_installed / package).rglob("*.py")
        assert {path.relative_to(pip_installed) for path in result} == expected


@pytest.mark.parametrize("folder", ["config", "msg", "weights"])
def test_pip_installs_every_shipped_file(pip_installed: Path, folder: str) -> None:
    installed = pip_installed / "renderocc_ros" / "share" / folder
    shipped = sorted(path for path in (ROOT / folder).rglob("*") if path.is_file())
    assert shipped
    for path in shipped:
        copy = installed / path.relative_to(ROOT / folder)
        assert copy.read_bytes() == path.read_bytes()


def test_a_pip_installation_finds_its_files_and_its_commands(pip_installed: Path) -> None:
    code = (
        "import renderocc_ros, renderocc_training\n"
        "from renderocc_ros.paths import share_path\n"
        "from renderocc_ros.config import load_class_set\n"
        "print(renderocc_ros.__file__, share_path('config', 'classes'), sep='\\n')\n"
        "print(load_class_set('occ3d').name)"
    )
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    env["PYTHONPATH"] = str(pip_installed)
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, env=env, cwd=pip_installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    module, classes, name = done.stdout.split()
    assert Path(module).is_relative_to(pip_installed)
    assert Path(classes) == pip_installed / "renderocc_ros" / "share" / "config" / "classes"
    assert name == "occ3d"
    for program in ("renderocc", "renderocc-train"):
        script = [sys.executable, str(pip_installed / "bin" / program), "--help"]
        shown = subprocess.run(script, env=env, cwd=pip_installed, capture_output=True, text=True)
        assert shown.returncode == 0 and "Usage: renderocc " in shown.stdout, shown.stderr

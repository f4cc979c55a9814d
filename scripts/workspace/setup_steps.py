"""The steps that make a workspace: system packages, Python packages, messages and underlay."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from environment import workspace_environment
from layout import Layout, digest
from steps import Stamp, StepFailed, run_logged, say, step

LINKED_FOLDERS = ("renderocc_ros", "training", "launch", "config", "rviz", "weights", "scripts")
BUILDERS = {"c++": "g++", "cmake": "cmake", "make": "make"}  # program: Debian package


def set_up(layout: Layout, groups: Sequence[str]) -> None:
    """Bring the workspace up to date, with the Python packages of requirements/<group>.txt.

    Does nothing, without network, when nothing has changed since the last time.
    """
    layout.state.mkdir(parents=True, exist_ok=True)
    with (layout.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another ./run that sets this workspace up …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _make_venv(layout)
        if layout.has_own_ros:
            ros_groups = [f"ros-{layout.distro}", "ros-tools"]
        else:
            ros_groups = [] if shutil.which("colcon") else ["ros-tools"]
        _install_python_packages(layout, (*ros_groups, *groups))
        _build(layout)


def _make_venv(layout: Layout) -> None:
    stamp = Stamp(layout.state, "venv", f"{sys.version} {sys.base_prefix}")
    if stamp.is_current and layout.python.exists():
        return
    _require_system_packages(layout)
    with step(f"creating a virtual environment of Python {sys.version.split()[0]}"):
        if layout.venv.exists():
            shutil.rmtree(layout.venv)
        shutil.rmtree(layout.state / "stamps", ignore_errors=True)
        system = [] if layout.has_own_ros else ["--system-site-packages"]
        run_logged(
            [sys.executable, "-m", "venv", *system, layout.venv],
            layout.log("venv"),
            "check the free disk space and that this Python has its venv module, then run again",
        )
    stamp.set()


def _install_python_packages(layout: Layout, groups: Sequence[str]) -> None:
    constraints = layout.requirements("constraints")
    stamps = {
        group: Stamp(
            layout.state,
            f"pip-{group}",
            digest(contents=[layout.requirements(group), constraints]),
        )
        for group in groups
    }
    missing = [group for group, stamp in stamps.items() if not stamp.is_current]
    if not missing:
        return
    if not layout.has_own_ros:
        constraints = _constraints_beside_system(layout, constraints)
    # All groups together: pip must see every wish to find versions that please all.
    wishes = [word for group in groups for word in ("-r", layout.requirements(group))]
    log = layout.log("pip")
    cure = (
        "this step needs the package index: check the network, or pip's index settings, and run "
        "again; what is installed already is kept"
    )
    # Compiling all of it at once takes longer than the rest; imports compile what they need.
    pip: list[str | Path] = [layout.python, "-m", "pip", "--disable-pip-version-check", "install"]
    pip += ["--no-compile"]
    with step(f"installing Python packages ({', '.join(missing)})"):
        run_logged([*pip, "-c", constraints, *wishes], log, cure)
        for group in groups:
            alone = layout.requirements(f"{group}-no-deps")
            if alone.exists():
                without = [*pip, "--no-deps", "-c", constraints, "-r", alone]
                run_logged(without, layout.log("pip-no-deps"), cure)
        if layout.has_own_ros:
            _adapt_cmake_files(layout)
    for stamp in stamps.values():
        stamp.set()


def _constraints_beside_system(layout: Layout, constraints: Path) -> Path:
    """Our pins, less those of packages that the sourced ROS has already, and its own numpy.

    Compiled ROS packages (cv_bridge) fit the numpy that they were built with.
    """
    present: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        present.setdefault(_canonical(distribution.name), distribution.version)
    lines = [
        line
        for line in constraints.read_text().splitlines()
        if _canonical(re.split(r"[=<>\[; ]", line)[0]) not in present
    ]
    if "numpy" in present:
        lines.append(f"numpy=={present['numpy']}")
    own = layout.state / "constraints.txt"
    own.write_text("\n".join(lines) + "\n")
    return own


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _adapt_cmake_files(layout: Layout) -> None:
    """Point the ROS wheels' CMake files, which name their builder's Python, to ours."""
    query = (
        "import numpy, sysconfig; print(sysconfig.get_path('include')); print(numpy.get_include())"
    )
    asked = subprocess.run([layout.python, "-c", query], capture_output=True, text=True, check=True)
    include, numpy_include = asked.stdout.splitlines()
    builder = r"/opt/python/cp\d+-cp\d+"
    for file in (layout.venv / "share").rglob("*.cmake"):
        text = file.read_text()
        adapted = re.sub(
            rf"{builder}/lib/python[\d.]+/site-packages/numpy/_?core/include", numpy_include, text
        )
        adapted = re.sub(rf"{builder}/include/python\d\.\d+", include, adapted)
        if adapted != text:
            file.write_text(adapted)


def _build(layout: Layout) -> None:
    """Build the messages, underlay/ where ROS comes from PyPI, and link the sources beside them.

    Python files are linked, so editing one needs nothing; new and removed ones are linked anew.
    """
    root = layout.checkout
    linked = [root / folder for folder in LINKED_FOLDERS if (root / folder).is_dir()]
    links = Stamp(layout.state, "links", digest(names=linked))
    underlay = root / "underlay"
    has_underlay = layout.has_own_ros and any(underlay.rglob("package.xml"))
    declared = [path for path in underlay.rglob("*") if path.is_file() and path.suffix != ".py"]
    inputs = digest(
        contents=[root / "CMakeLists.txt", root / "package.xml", root / "msg"]
        + (declared if has_underlay else []),
        names=[underlay] if has_underlay else [],
        extra=f"{layout.site_packages} {linked}",
    )
    build = Stamp(layout.state, "build", inputs)
    if not build.is_current or not layout.install.exists():
        _run_colcon(layout, [root, underlay] if has_underlay else [root])
        build.set()
    elif not links.is_current:
        _remove_dangling_links(layout.install)
        with step("linking new files"):
            run_logged(
                ["cmake", "--install", layout.state / "build" / "renderocc_ros"],
                layout.log("links"),
                "./run clean, then once more",
            )
    links.set()


def _run_colcon(layout: Layout, bases: Sequence[Path]) -> None:
    _require_system_packages(layout)
    _remove_dangling_links(layout.install)
    jobs = str(os.cpu_count() or 1)
    command: list[str | Path] = ["colcon", "--log-base", layout.state / "log" / "colcon", "build"]
    command += ["--base-paths", *bases]
    command += ["--build-base", layout.state / "build", "--install-base", layout.install]
    command += ["--merge-install", "--symlink-install", "--parallel-workers", jobs]
    command += ["--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={layout.python}"]
    with step("building messages and underlay" if len(bases) > 1 else "building messages"):
        run_logged(
            command,
            layout.log("build"),
            "if the end of the log does not tell: ./run clean, then once more",
            env=workspace_environment(layout) | {"MAKEFLAGS": f"-j{jobs}"},
            cwd=layout.state,
        )


def _remove_dangling_links(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.exists():
            path.unlink()


def _require_system_packages(layout: Layout) -> None:
    """Install a missing compiler, CMake or venv module where we may, else name them."""
    packages = [package for program, package in BUILDERS.items() if shutil.which(program) is None]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if not _has_module("ensurepip"):
        packages.append(f"python{version}-venv")
    if not packages:
        return
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise StepFailed(
            f"these system packages are missing: {names}\n"
            f"  cure: install them (Debian, Ubuntu: sudo apt install {names}) and run again"
        )
    with step(f"installing system packages with apt: {names}"):
        log = layout.log("apt")
        cure = f"run: apt-get update && apt-get install {names}"
        run_logged(["apt-get", "update"], log, cure)
        run_logged(["apt-get", "install", "-y", "--no-install-recommends", *packages], log, cure)


def _has_module(name: str) -> bool:
    return subprocess.call([sys.executable, "-c", f"import {name}"], stderr=subprocess.DEVNULL) == 0

"""Where the state of a workspace lives, and what it was made from."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from steps import StepFailed

DISTROS = ("jazzy", "kilted")  # those with wheels; first the default, which lives longest


@dataclass(frozen=True)
class Layout:
    """The folders of one workspace: a checkout set up for one ROS distribution and one Python.

    Attributes:
        checkout: the folder that `run` lies in.
        distro: name of the ROS distribution.
        has_own_ros: whether ROS comes from PyPI into the workspace; else a sourced ROS is used.
    """

    checkout: Path
    distro: str
    has_own_ros: bool

    @property
    def state(self) -> Path:
        # In full: a system's 3.11.2 and a user's 3.11.7 would delete each other's environment.
        python = "py" + ".".join(map(str, sys.version_info[:3]))
        source = "" if self.has_own_ros else "-sourced"
        return state_root(self.checkout) / f"{self.distro}{source}-{python}"

    @property
    def venv(self) -> Path:
        return self.state / "venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    def program(self, name: str) -> str:
        """Path of a program of the workspace's environment."""
        return str(self.venv / "bin" / name)

    @property
    def site_packages(self) -> Path:
        return self._python_folder(self.venv)

    @property
    def install(self) -> Path:
        return self.state / "install"

    @property
    def installed_python(self) -> Path:
        """Where the workspace's own Python packages and messages are imported from."""
        return self._python_folder(self.install)

    def log(self, step: str) -> Path:
        return self.state / "log" / f"{step}.log"

    def requirements(self, name: str) -> Path:
        return self.checkout / "requirements" / f"{name}.txt"

    @staticmethod
    def _python_folder(prefix: Path) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return prefix / "lib" / version / "site-packages"


def state_root(checkout: Path) -> Path:
    """The folder with all state of a checkout, for every distribution and Python version.

    It lies in the user's cache, not in the checkout: CMake refuses to export include folders
    (numpy's) that are below a package's own source, and build tools want a path without spaces,
    which a checkout's need not be. A cache whose own path has such characters is replaced by one in
    the temporary folder.

    Raises:
        StepFailed: the cache in the temporary folder is another user's, or open to others.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not cache.is_absolute() or re.search(r"[^\w./+@%,=~-]", str(cache), re.ASCII):
        cache = _own_folder(Path(tempfile.gettempdir()) / f"cache-{os.getuid()}")
    name = re.sub(r"[^\w.-]", "_", checkout.name, flags=re.ASCII)
    digest = hashlib.sha256(str(checkout).encode()).hexdigest()[:8]
    return cache / "renderocc_ros" / f"{name}-{digest}"


def _own_folder(folder: Path) -> Path:
    """A folder that only this user can write to, where everybody may have made one of its name."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        about = folder.lstat()
        private = stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077
        if not private or about.st_uid != os.getuid():
            raise StepFailed(
                f"{folder} is not a folder of yours alone\n"
                "  cure: set XDG_CACHE_HOME to a path without spaces, or remove it"
            ) from None
    return folder


def digest(*, contents: Iterable[Path] = (), names: Iterable[Path] = (), extra: str = "") -> str:
    """A hash of the contents of some files, the mere names of others, and a text.

    Folders stand for all files below them, without caches.
    """
    hasher = hashlib.sha256(extra.encode())
    for path in _files(contents):
        hasher.update(f"\0{path}\0".encode() + path.read_bytes())
    for path in _files(names):
        hasher.update(f"\0{path}".encode())
    return hasher.hexdigest()


def _files(paths: Iterable[Path]) -> list[Path]:
    files: set[Path] = set()
    for path in paths:
        inside = path.rglob("*") if path.is_dir() else (path,)
        files.update(p for p in inside if p.is_file() and "__pycache__" not in p.parts)
    return sorted(files)

"""Where the files that come with the package lie: configuration, weights, messages."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

DISTRIBUTION = "renderocc-ros"
PACKAGE = Path(__file__).resolve().parent


def share_path(*parts: str) -> Path:
    """A shipped file or folder, wherever this package was installed from.

    Looked for in the source tree, then in the share folders of the sourced ament workspaces, then
    in the package itself (pip).

    Raises:
        ValueError: the installation lacks it.
    """
    for root in _roots():
        if root.joinpath(*parts).exists():
            return root.joinpath(*parts)
    looked = ", ".join(map(str, _roots()))
    raise ValueError(f"'{'/'.join(parts)}' is in none of {looked}: install renderocc_ros again")


def version() -> str:
    """The version, which stands in package.xml; pip has it among its own data."""
    try:
        text = share_path("package.xml").read_text(encoding="utf-8")
    except ValueError:
        return importlib.metadata.version(DISTRIBUTION)
    return text.partition("<version>")[2].partition("</version>")[0]


def shipped_weights(network: str) -> Path | None:
    """The checkpoint that comes with a shipped network; None where there is none."""
    try:
        return share_path("weights", f"{network}.safetensors")
    except ValueError:
        return None


def cache_path(*parts: str) -> Path:
    """A place for what can be made again, in the user's cache folder (XDG base directories)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache) if os.path.isabs(cache) else Path.home() / ".cache"
    return base.joinpath("renderocc_ros", *parts)


def _roots() -> Iterator[Path]:
    yield PACKAGE.parent
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        yield Path(prefix, "share", "renderocc_ros")
    yield PACKAGE / "share"

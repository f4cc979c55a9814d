"""The source tree as the contract tests see it."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "renderocc_ros": ROOT,
    "renderocc_training": ROOT / "training",
    "renderocc_simulation": ROOT / "training",
}


@dataclass(frozen=True)
class Import:
    """One import statement: which file, which module, and whether it runs when the file loads."""

    file: Path
    line: int
    module: str
    at_top: bool

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def sources(package: str) -> list[Path]:
    """All Python files of a package."""
    files = sorted((PACKAGES[package] / package).rglob("*.py"))
    assert files, f"no source of {package}"
    return files


def imports_of(file: Path) -> Iterator[Import]:
    """Every import statement of a file, relative ones made absolute."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    at_top = {id(node) for node in _run_on_load(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(file, node)
            modules = [
                base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names
            ]
        else:
            continue
        for module in modules:
            yield Import(file, node.lineno, module, id(node) in at_top)


def _run_on_load(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below that are executed on import: not function bodies, not ``TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _run_on_load(child)


def _absolute(file: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = next(root for name, root in PACKAGES.items() if root / name in file.parents)
    parts = file.relative_to(package).with_suffix("").parts[: -node.level]
    return ".".join([*parts, *([node.module] if node.module else [])])


def package_xml() -> ElementTree.Element:
    """The root element of package.xml."""
    return ElementTree.parse(ROOT / "package.xml").getroot()


def required(name: str) -> set[str]:
    """Distribution names in requirements/<name>.txt, as pip normalises them."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    wanted = (line for line in lines if line and not line.startswith("#"))
    return {normalised(re.split(r"[\[<>=!~; ]", line)[0]) for line in wanted}


def normalised(distribution: str) -> str:
    """PEP 503: the one spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", distribution).lower()

"""YAML from outside: keys that stand twice are refused, and so is what would take for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from renderocc_ros.outside_data import parsing

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_LETTERS = 1000  # of one value
MAX_NODES = 100_000  # with aliases and merges written out


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        ValueError: not YAML, no keys and values, a key that stands twice, or more than any
            configuration holds.
    """
    with parsing(path, "it must be YAML with keys and values"):
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        content = yaml.load(text, _BoundedLoader)
        if content is None:
            raise ValueError("it is empty")
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    return content


class _BoundedLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would keep the last alone.

    Depth, and the number of nodes that aliases stand for, are counted as the file is composed,
    before any of them is written out.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0
        self._sizes: dict[Any, int] = {}  # of the nodes that have been composed

    def compose_node(self, parent: Any, index: Any) -> Any:
        start, self._depth = self._nodes, self._depth + 1
        self._require(self._depth <= MAX_DEPTH, f"more than {MAX_DEPTH} levels")
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._require(not is_alias or node in self._sizes, "an alias inside of what it stands for")
        self._nodes += self._sizes[node] if is_alias else 1
        self._require(self._nodes <= MAX_NODES, f"more than {MAX_NODES:,} values")
        self._sizes[node] = self._nodes - start
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        self._require(len(node.value) <= MAX_LETTERS, f"more than {MAX_LETTERS:,} letters in one")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.composer.ComposerError(
                    problem=f"key '{key.value}' stands twice; remove or rename one",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return node

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise yaml.composer.ComposerError(
                problem=f"{problem}, which no configuration has",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )

"""How files are damaged: bytes flipped, cut, repeated; values that no one expects."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

# What stands in a file where something else is expected.
ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-6, 1e-300, 1e300),
    *(float("nan"), float("inf"), "", "x", "0", "../../up", "a/b", "nan", "\x00", "ä" * 300),
    *([], {}, [[]], [None], {"": None}, [0, 0, 0], [1, 2, 3, 4], ["x", "x"]),
]
DROP, TWICE = object(), object()
CHANGES = [*ODD_VALUES, DROP, TWICE]

Place = tuple[Any, ...]


@st.composite
def damaged_bytes(draw: st.DrawFn, sound: bytes) -> bytes:
    """A file with one to four places changed."""
    content = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        length = draw(st.sampled_from((1, 2, 4, 8, 100, 10_000)))
        how = draw(st.sampled_from(("flip", "write", "cut", "drop", "insert", "repeat")))
        if how == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "write":
            written = draw(st.sampled_from((b"\x00", b"\xff", b"\x7f", b"\x80")))
            content[place : place + length] = written * min(length, len(content) - place)
        elif how == "cut":
            del content[place:]
        elif how == "drop":
            del content[place : place + length]
        elif how == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif how == "repeat":
            content[place:place] = content[place : place + length]
    return bytes(content)


@st.composite
def damaged_values(draw: st.DrawFn, sound: Any) -> Any:
    """A tree of dicts and lists with one to three values changed, dropped or doubled."""
    content = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(content))
        if not places:
            break
        change = draw(st.sampled_from(CHANGES))
        content = _changed(content, draw(st.sampled_from(places)), change)
    return content


@st.composite
def damaged_numbers(draw: st.DrawFn, sound: dict[str, Any]) -> bytes:
    """The fields of a message as JSON: values stay of their type, as in CDR."""
    content = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(sorted(content)))
        value = content[key]
        if isinstance(value, list) and value:
            value[draw(st.integers(0, len(value) - 1))] = draw(_like(value[0]))
        elif not isinstance(value, list):
            content[key] = draw(_like(value))
    return json.dumps(content).encode()


def _like(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.sampled_from((0, 1, 2, 7, 4096, 2**31, 2**32 - 1))
    if isinstance(value, float):
        odd = (0.0, -1.0, 1e-300, 1e-5, 1e18, 1e300, float("nan"), float("inf"), -float("inf"))
        return st.sampled_from(odd) | st.floats()
    return st.sampled_from(("", "plumb_bob", "equidistant", "rational_polynomial", "x", "fisheye"))


def damaged_json(sound: bytes) -> st.SearchStrategy[bytes]:
    """A JSON file: its values, or its bytes."""
    values = damaged_values(json.loads(sound)).map(lambda content: json.dumps(content).encode())
    return values | damaged_bytes(sound)


def damaged_yaml(sound: bytes) -> st.SearchStrategy[bytes]:
    """A YAML file: its values, or its bytes."""
    values = damaged_values(yaml.safe_load(sound)).map(
        lambda content: yaml.safe_dump(content, allow_unicode=True).encode()
    )
    return values | damaged_bytes(sound)


def _places(content: Any, here: Place = ()) -> Iterator[Place]:
    entries: Any = ()
    if isinstance(content, dict):
        entries = content.items()
    elif isinstance(content, list):
        entries = enumerate(content)
    for key, value in entries:
        yield (*here, key)
        yield from _places(value, (*here, key))


def _changed(content: Any, place: Place, change: Any) -> Any:
    *way, last = place
    holder = content
    for key in way:
        holder = holder[key]
    if change is DROP:
        del holder[last]
    elif change is TWICE and isinstance(holder, list):
        holder.insert(last, copy.deepcopy(holder[last]))
    else:
        holder[last] = "twice" if change is TWICE else copy.deepcopy(change)
    return content

"""Reference pages from the code itself: commands, node parameters, messages, configuration keys."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main

ROOT = Path(__file__).resolve().parents[2]
Schema = dict[str, Any]  # JSON schema
OWN_OPTIONS = {"--help", "--install-completion", "--show-completion"}  # of every program
NOTE = "<!-- made by scripts/site/reference.py when the site is built -->"
CAN_CHANGE = {
    "ANY_TIME": "any time",
    "INPUTS": "any time",
    "UNCONFIGURED": "while unconfigured",
    "START": "at start",
}

# The models behind the YAML files: title, folder of shipped files, module, class.
CONFIGURATION = (
    ("Rig", "config/rigs", "renderocc_ros.config", "RigConfig"),
    ("Network", "config/networks", "renderocc_ros.network_config", "NetworkConfig"),
    ("Recipe", "config/recipes", "renderocc_training.recipe", "Recipe"),
    (
        "Label source",
        "config/label_sources",
        "renderocc_training.supervision.labels.label_source",
        "LabelSource",
    ),
    ("Study", "config/studies", "renderocc_training.study.plan", "Study"),
    ("Class set", "config/classes", "renderocc_ros.config", "_ClassSetFile"),
    ("Simulated rig", "config/simulated_rigs", "renderocc_simulation.rig", "_RigFile"),
)


def pages() -> dict[str, str]:
    """Markdown by the name of the page."""
    return {
        "commands": _commands(),
        "parameters": _parameters(),
        "messages": _messages(),
        "configuration": _configuration(),
    }


# ------------------------------------------------------------------------------------ commands


def _commands() -> str:
    from renderocc_ros.cli import GROUPS, app

    program: Any = typer.main.get_command(app)
    context = program.make_context("renderocc", ["--debug"], resilient_parsing=True)
    lines = [NOTE, "# Commands", "", "`renderocc COMMAND --help` shows the same in a terminal.", ""]
    for group, names in GROUPS.items():
        lines += [f"## {group}", ""]
        for name in names:
            _, command, _ = program.resolve_command(context, [name])
            lines += _command(f"renderocc {name}", command)
    return "\n".join(lines)


def _command(name: str, command: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    children: Mapping[str, Any] = getattr(command, "commands", {})
    yield from _paragraphs(command.help or "")
    yield from _options(command)
    for child in children.values():
        yield from _command(f"{name} {child.name}", child)


def _paragraphs(text: str) -> Iterator[str]:
    """Help text as Markdown; a line that is a command to copy becomes code."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).replace("\b", "").strip()):
        flat = " ".join(re.sub(r"\\\[", "[", paragraph).split())
        example = re.fullmatch(r"(?:Examples?: )?((?:\./run )?renderocc .+)", flat)
        if example:
            yield from ("```", *re.split(r" (?=renderocc )", example[1]), "```", "")
        else:
            yield from (_escaped(flat), "")


def _options(command: Any) -> Iterator[str]:
    rows = []
    for option in command.params:
        if OWN_OPTIONS & set(option.opts) or getattr(option, "hidden", False):
            continue
        is_argument = option.param_type_name == "argument"
        names = option.name.upper() if is_argument else ", ".join(option.opts)
        if getattr(option, "secondary_opts", None):
            names += " / " + ", ".join(option.secondary_opts)
        rows.append((f"`{names}`", _default(option), _escaped(getattr(option, "help", "") or "")))
    yield from _table(("option", "default", "meaning"), rows)


def _default(option: Any) -> str:
    default = option.default
    if option.required:
        return "required"
    if default is None or default is False or default in ("", ()) or callable(default):
        return ""
    return f"`{default}`"


# ---------------------------------------------------------------------------------- parameters


def _parameters() -> str:
    from renderocc_ros.node.parameters import DEFAULTS, SPECS

    rows = []
    for name, spec in SPECS.items():
        choices = ", ".join(f"`{choice}`" for choice in spec.choices if choice)
        bounds = "" if spec.lowest is None else f"{spec.lowest:g} to {spec.highest:,.12g}"
        meaning = _escaped(spec.description)
        accepted = choices or bounds
        default = json.dumps(DEFAULTS[name], ensure_ascii=False)
        rows.append((f"`{name}`", f"`{default}`", accepted, meaning, CAN_CHANGE[spec.change.name]))
    head = ("parameter", "default", "accepted", "meaning", "can change")
    lines = [NOTE, "# Parameters of the node", ""]
    lines += ["[config/node.yaml](../../config/node.yaml) holds them at their defaults.", ""]
    return "\n".join([*lines, *_table(head, rows)])


# ------------------------------------------------------------------------------------ messages


def _messages() -> str:
    lines = [NOTE, "# Messages", ""]
    lines += ["What goes over which topic is on the page of the [live node](../node.md).", ""]
    for file in sorted((ROOT / "msg").glob("*.msg")):
        lines += [f"## {file.stem}", "", "```text", file.read_text("utf-8").rstrip(), "```", ""]
    return "\n".join(lines)


# ------------------------------------------------------------------------------- configuration


def _configuration() -> str:
    lines = [NOTE, "# Configuration files", ""]
    lines += ["Unknown keys are refused, with the nearest one that exists.", ""]
    for title, folder, module, name in CONFIGURATION:
        schema = getattr(importlib.import_module(module), name).model_json_schema()
        shipped = sorted((ROOT / folder).glob("*.yaml"))
        links = ", ".join(f"[{file.stem}](../../{folder}/{file.name})" for file in shipped)
        lines += [f"## {title}", "", _first_line(schema), "", f"Shipped: {links}.", ""]
        lines += _keys(schema, schema.get("$defs", {}), "")
    return "\n".join(lines)


def _keys(schema: Schema, definitions: dict[str, Schema], path: str) -> Iterator[str]:
    """A table of the keys of one mapping, then a section for each mapping below it."""
    required, rows, below = schema.get("required", []), [], []
    for key, value in schema.get("properties", {}).items():
        place = f"{path}.{key}" if path else key
        mappings = [definitions[name] for name in _references(value)]
        below += [(place, mapping) for mapping in mappings]
        kind = "see below" if mappings else _type(value)
        default = json.dumps(value.get("default"), ensure_ascii=False)
        meaning = value.get("description") or " ".join(_first_line(part) for part in mappings)
        shown = "required" if key in required else "" if mappings else f"`{default}`"
        rows.append((f"`{key}`", kind, shown, _escaped(meaning)))
    yield from _table(("key", "accepted", "default", "meaning"), rows)
    for place, mapping in below:
        kind = mapping.get("properties", {}).get("kind", {}).get("const")
        yield from (f"### `{place}`" + (f" of kind `{kind}`" if kind else ""), "")
        yield from (_first_line(mapping), "")
        yield from _keys(mapping, definitions, place)


def _references(value: Schema) -> list[str]:
    """Names of the mappings that a key, or an entry of its list, may hold."""
    nested = [*value.get("anyOf", []), *value.get("oneOf", []), *value.get("allOf", [])]
    nested += [value["items"]] if isinstance(value.get("items"), dict) else []
    own = [value["$ref"].rpartition("/")[2]] if "$ref" in value else []
    return [*own, *(name for part in nested for name in _references(part))]


def _type(value: Schema) -> str:
    """The accepted values of a key, from its JSON schema."""
    if "anyOf" in value:
        return " or ".join(_type(choice) for choice in value["anyOf"])
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = str(value.get("type", "any"))
    if kind == "array":
        items: Schema = value.get("items") or next(iter(value.get("prefixItems", [])), {})
        return f"{value.get('maxItems', 'list of')} {_type(items)}"
    return kind + _bounds(value)


def _bounds(value: Schema) -> str:
    bound_words = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "exclusiveMaximum": "<",
    }
    return "".join(f" {sign} {value[key]:g}" for key, sign in bound_words.items() if key in value)


# -------------------------------------------------------------------------------------- Markdown


def _first_line(schema: Schema) -> str:
    return _escaped(str(schema.get("description", "")).partition("\n\n")[0].replace("\n", " "))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = list(rows)
    if not lines:
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in lines:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""


def _escaped(text: str) -> str:
    """Docstrings' ``code`` as Markdown's, and nothing that would be read as HTML or a link."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split()))
    return "".join(
        part if i % 2 else re.sub(r"([\[*_])", r"\\\1", part).replace("<", "&lt;")
        for i, part in enumerate(re.split(r"(`[^`]*`)", text))
    )

"""Values that a command line sets in configuration files: ``--set losses.votes=1.5``."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_origin

import yaml

from renderocc_ros.config import StrictModel, models_in, validate

Model = TypeVar("Model", bound=StrictModel)
Settings = dict[str, Any]  # dotted key → value


def sort_settings(
    texts: Sequence[str], models: Mapping[str, type[StrictModel]]
) -> dict[str, Settings]:
    """Which configuration each ``KEY=VALUE`` belongs to.

    Args:
        texts: as given; a value is read as YAML.
        models: the configurations that there are, by the name that messages give them.

    Returns:
        the settings of each configuration.

    Raises:
        ValueError: no "=", a key that no configuration has (the message names the nearest one that
            one has), or that several have.
    """
    sorted_settings: dict[str, Settings] = {name: {} for name in models}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text}: give KEY=VALUE")
        owners = [name for name, model in models.items() if _has(model, key.split("."))]
        if not owners:
            raise ValueError(f"--set {text}: unknown key '{key}'; {_hint(key, models)}")
        if len(owners) > 1:
            raise ValueError(
                f"--set {text}: {' and '.join(owners)} have a key '{key}' each; set it in a copy "
                "of the file"
            )
        try:
            sorted_settings[owners[0]][key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {text}: the value is not valid YAML: {error}") from error
    return sorted_settings


def with_settings(config: Model, settings: Settings) -> Model:
    """A configuration with some of its values set anew.

    Raises:
        ValueError: a value that its key does not take.
    """
    content = config.model_dump(mode="json")
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = content
        for parent in parents:
            if not isinstance(place.get(parent), dict):  # a part that was left out
                place[parent] = {}
            place = place[parent]
        place[last] = value
    return validate(content, type(config), "--set") if settings else config


def _has(model: type[StrictModel], parts: list[str]) -> bool:
    """Whether a file of this model may hold a value there."""
    fields = [model.model_fields[parts[0]]] if parts[0] in model.model_fields else []
    if not fields or len(parts) == 1:
        return bool(fields)
    inner = models_in(fields[0].annotation)
    if not inner:
        return get_origin(fields[0].annotation) is dict  # whose keys are free
    return any(_has(each, parts[1:]) for each in inner)


def _keys(model: type[StrictModel]) -> Iterator[str]:
    """All dotted keys of values."""
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        yield from (f"{name}.{key}" for each in inner for key in _keys(each))
        if not inner:
            yield name


def _hint(key: str, models: Mapping[str, type[StrictModel]]) -> str:
    known = list(dict.fromkeys(each for model in models.values() for each in _keys(model)))
    by_end = {each.rpartition(".")[2]: each for each in known}
    end = key.rpartition(".")[2]
    near = [by_end[end]] if end in by_end else difflib.get_close_matches(key, known, n=1)
    near = near or [by_end[each] for each in difflib.get_close_matches(end, by_end, n=1)]
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known keys: {', '.join(known)}"

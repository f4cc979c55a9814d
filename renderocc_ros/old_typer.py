"""Commands as typer before 0.19 reads them: Ubuntu 24.04, under Jazzy and Kilted, has 0.9.

Those versions know neither ``X | None`` nor ``Literal``; they get ``Optional`` and enums instead.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin, get_type_hints

import typer

IS_OLD = tuple(int(part) for part in typer.__version__.split(".")[:2]) < (0, 19)


def for_old_typer(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, its parameters described as old versions of typer read them."""
    types = {
        name: _plain(name, hint)
        for name, hint in get_type_hints(command, include_extras=True).items()
        if name != "return"
    }

    @functools.wraps(command)
    def described(**given: Any) -> None:
        command(**{k: v.value if isinstance(v, Enum) else v for k, v in given.items()})

    signature = inspect.signature(command)
    parameters = [signature.parameters[name].replace(annotation=types[name]) for name in types]
    described.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    described.__annotations__ = types
    return described


def _plain(name: str, hint: Any) -> Any:
    """A type without ``|`` and ``Literal``."""
    if get_origin(hint) is Annotated:
        return Annotated[(_plain(name, hint.__origin__),) + hint.__metadata__]  # noqa: RUF005
    if get_origin(hint) is Literal:
        return Enum(name, {str(value): value for value in get_args(hint)})
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        (inner,) = (part for part in get_args(hint) if part is not type(None))
        return Optional[_plain(name, inner)]  # noqa: UP045
    return hint

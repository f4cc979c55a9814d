"""Command line groups whose sub-commands are imported only when they are called.

A sub-command is a module in a ``commands`` package: the first line of its docstring is its help,
and it holds either a function of the module's own name (``nuscenes_to_bag`` becomes
``nuscenes-to-bag``) or a ``typer.Typer`` named ``app`` that groups further commands. ``--help``
reads the docstrings and imports nothing, so it is fast, and a command whose libraries are missing
leaves the others alone.
"""

from __future__ import annotations

import ast
import errno
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import typer
import typer.core
import typer.main

# What brings a top-level module that a command may lack.
EXTRA_OF_MODULE = {
    "rosbags": "train",
    "nuscenes": "train",
    "pyquaternion": "train",
    "torch": "train",
    "lightning": "train",
    "lightning_fabric": "train",
    "tensorboard": "train",
    "scipy": "train",
    "threadpoolctl": "train",
    "embreex": "train",
    "transformers": "label",
    "onnx": "export",
    "onnxruntime": "export",
    "av": "view",
    "rerun": "view",
    "pyvista": "view",
    "pytest": "test",
}
ROS_MODULES = ("rclpy", "tf2_ros", "message_filters", "cv_bridge", "sensor_msgs_py")
TRACEBACK_SWITCH = "RENDEROCC_TRACEBACK"


class LazyGroup(typer.core.TyperGroup):
    """A group that finds its commands as files of :attr:`package` and imports the one called."""

    package = ""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; a letter that the terminal's encoding lacks becomes a "?" and not an error."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands, in alphabetical order."""
        return sorted(_command_name(file) for file in self._files())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the command's one-line help; nothing is imported."""
        for file in self._files():
            if _command_name(file) == cmd_name:
                return typer.core.TyperCommand(cmd_name, help=_summary(file))
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported now."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        return name, _load(f"{self.package}.{name.replace('-', '_')}", name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the user's mistakes become one line instead of a traceback."""
        try:
            return super().invoke(ctx)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            # A pipe whose reader has gone (| head) is no mistake: typer ends without a word.
            if os.environ.get(TRACEBACK_SWITCH) or isinstance(error, BrokenPipeError):
                raise
            words = str(error)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                words += "; free some space, or write elsewhere, and call it again"
            if isinstance(error, ModuleNotFoundError):  # of a module imported where it is used
                words = f"this {_cure(error)}"
            typer.secho(f"error: {words}", fg="red", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as interrupt:
            typer.secho("interrupted", err=True)
            raise typer.Exit(130) from interrupt

    def _files(self) -> list[Path]:
        folder = Path(str(importlib.import_module(self.package).__file__)).parent
        return [file for file in folder.glob("*.py") if not file.name.startswith("_")]


def lazy_app(package: str, help: str) -> typer.Typer:
    """A typer application over the modules of a ``commands`` package.

    Args:
        package: dotted name of the package.
        help: text that ``--help`` opens with.
    """
    group = type("Group", (LazyGroup,), {"package": package})
    app = typer.Typer(cls=group, help=help, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    return app


def _command_name(file: Path) -> str:
    return file.stem.replace("_", "-")


def _summary(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _load(module_name: str, command: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        typer.secho(f"error: '{command}' {_cure(error)}", fg="red", err=True)
        raise typer.Exit(1) from error
    if hasattr(module, "app"):
        loaded = typer.main.get_command(module.app)
    else:
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command()(getattr(module, module_name.rpartition(".")[2]))
        loaded = typer.main.get_command(single)
    loaded.name = command
    return loaded


def _cure(error: ModuleNotFoundError) -> str:
    missing = (error.name or "").partition(".")[0]
    need = f"needs the Python module '{missing}'"
    if missing in ROS_MODULES or missing.endswith("_msgs"):
        return f"{need}: source ROS 2 and this workspace, or call it through ./run"
    if missing == "renderocc_ros" and str(error.name).endswith(".msg"):
        return f"{need}.msg: source the built workspace, or call it through ./run"
    if missing == "nuscenes" and sys.version_info >= (3, 13):
        return f"{need}: nuscenes-devkit is made for Python 3.12 and earlier, use one of those"
    extra = EXTRA_OF_MODULE.get(missing)
    python = Path(sys.executable).name
    if extra is None:
        return f"{need}: {python} -m pip install '{missing}'"
    return f"{need}: {python} -m pip install '.[{extra}]' in the checkout of renderocc_ros"

"""A command line whose commands are imported only when they are called.

A command is a module in the ``commands`` folder of a package: the first line of its docstring is
its help, and it holds either a function of the module's own name (``nuscenes_to_bag`` becomes
``nuscenes-to-bag``) or a ``typer.Typer`` named ``app`` that groups further commands. ``--help``
reads the docstrings and imports nothing, so it is fast, and a command whose libraries are missing
leaves the others alone.
"""

from __future__ import annotations

import ast
import errno
import importlib
import importlib.metadata
import importlib.util
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from sysconfig import get_path
from typing import Annotated, Any

import typer
import typer.core
import typer.main
from rich.markup import escape

from renderocc_ros import __version__
from renderocc_ros.old_typer import IS_OLD, for_old_typer
from renderocc_ros.paths import DISTRIBUTION

# What brings a top-level module that a command may lack.
EXTRA_OF_MODULE = {
    "rosbags": "train",
    "renderocc_training": "train",
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


class LazyGroup(typer.core.TyperGroup):
    """A group that imports a command when it is called: the file of its name in a package's
    ``commands`` folder."""

    packages: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = {}

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; a letter that the terminal's encoding lacks becomes a "?" and not an error."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands that are installed, group by group."""
        return [name for names in self.groups.values() for name in names if self._find(name)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the command's one-line help; nothing is imported."""
        command = self._find(cmd_name)
        for group, names in self.groups.items():
            if command and cmd_name in names:
                summary = escape(_summary(command[1]))
                return typer.core.TyperCommand(cmd_name, help=summary, rich_help_panel=group)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself, imported now."""
        name = args[0]
        if any(name in names for names in self.groups.values()):
            if (command := self._find(name)) is None:
                raise _failed(f"'{name}' is not installed here: {_install('train')}")
            return name, _load(command[0], name), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the user's mistakes become one line instead of a traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            # A pipe whose reader has gone (| head) is no mistake: typer ends without a word. What
            # has an exit code, typer shows itself.
            if isinstance(error, BrokenPipeError | typer.Abort) or hasattr(error, "exit_code"):
                raise
            if ctx.params.get("debug"):
                raise
            message = str(error)
            if not isinstance(error, ValueError | OSError | ModuleNotFoundError):
                message = (
                    f"{type(error).__name__}: {error}; this should not happen, please report it "
                    f"with what `renderocc --debug {' '.join(sys.argv[1:])}` prints"
                )
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                message += "; free some space, or write elsewhere, and call it again"
            if isinstance(error, ModuleNotFoundError):  # of a module imported where it is used
                message = f"this {_cure(error)}"
            raise _failed(message) from error
        except KeyboardInterrupt as interrupt:
            typer.secho("interrupted", err=True)
            raise typer.Exit(130) from interrupt

    def _find(self, command: str) -> tuple[str, Path] | None:
        """The module of a command and its file; None where no package has it."""
        stem = command.replace("-", "_")
        for package in self.packages:
            spec = importlib.util.find_spec(package)
            for folder in (spec.submodule_search_locations or ()) if spec else ():
                file = Path(folder) / "commands" / f"{stem}.py"
                if file.is_file():
                    return f"{package}.commands.{stem}", file
        return None


def lazy_app(
    packages: Sequence[str], groups: Mapping[str, Sequence[str]], help: str
) -> typer.Typer:
    """A typer application over the ``commands`` folders of packages.

    Args:
        packages: names of packages; one that is not installed has no commands.
        groups: names of commands by the title that ``--help`` lists them under.
        help: text that ``--help`` opens with.
    """
    group = type("Group", (LazyGroup,), {"packages": packages, "groups": groups})
    app = typer.Typer(
        cls=group,
        help=help,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def _program(
        version: Annotated[
            bool,
            typer.Option("--version", help="print the version", is_eager=True, callback=_version),
        ] = False,
        debug: Annotated[
            bool, typer.Option("--debug", help="show where an error comes from")
        ] = False,
    ) -> None:
        pass

    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _failed(message: str) -> typer.Exit:
    """Say what is wrong, in one line; the end of the program, to be raised."""
    # Values from outside stand in messages: they neither begin lines nor command the terminal.
    letters = " ".join(message.splitlines())
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in letters)
    typer.secho(f"error: {line}", fg="red", err=True)
    return typer.Exit(1)


def _summary(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def _load(module_name: str, command: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise _failed(f"'{command}' {_cure(error)}") from error
    app = getattr(module, "app", None)
    if app is None:
        # Plain: rich's tables leave so little room for a text that words are cut in 80 columns.
        app = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        app.command()(getattr(module, module_name.rpartition(".")[2]))
    for registered in app.registered_commands if IS_OLD else ():
        if registered.callback is not None:
            registered.callback = for_old_typer(registered.callback)
    loaded = typer.main.get_command(app)
    loaded.name = command
    return loaded


def _cure(error: ModuleNotFoundError) -> str:
    missing = (error.name or "").partition(".")[0]
    need = f"needs the Python module '{missing}'"
    if missing in ROS_MODULES or missing.endswith("_msgs"):
        return f"{need}: source ROS 2 and this workspace, or call it through ./run"
    if missing == "renderocc_ros" and str(error.name).endswith(".msg"):
        return f"{need}.msg: source the built workspace, or call it through ./run"
    extra = EXTRA_OF_MODULE.get(missing)
    if extra is None:
        return f"{need}: {Path(sys.executable).name} -m pip install '{missing}'"
    return f"{need}: {_install(extra)}"


def _install(extra: str) -> str:
    """The command that installs an extra here."""
    pip = f"{Path(sys.executable).name} -m pip install"
    if sys.prefix == sys.base_prefix and Path(get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        pip = f"PIP_BREAK_SYSTEM_PACKAGES=1 {pip}"  # PEP 668
    installed = importlib.metadata.distributions(name=DISTRIBUTION)
    if any(each.read_text("INSTALLER") for each in installed):  # colcon names none
        return f"{pip} '{DISTRIBUTION}[{extra}]'"
    return f"{pip} '.[{extra}]' in the checkout of renderocc_ros"

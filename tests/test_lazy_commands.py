"""Command lines: fast help, commands imported when called, mistakes in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
import typer.core
import typer.main
from typer.testing import CliRunner

from renderocc_ros import __version__
from renderocc_ros.cli import GROUPS as GROUPS_OF_OURS
from renderocc_ros.cli import PACKAGES
from renderocc_ros.cli import app as our_app
from renderocc_ros.lazy_commands import lazy_app

WORKING = '''"""Add two numbers."""


def add_up(first: int, second: int) -> None:
    """Add two numbers and print the sum."""
    if first < 0:
        raise ValueError(f"first = {first} must be 0 or more")
    print(first + second)
'''
GROUP = '''"""Things below a name."""
import typer

app = typer.Typer()


@app.command()
def one() -> None:
    print("one was called")


@app.command()
def two() -> None:
    print("two was called")
'''


TALKATIVE = '''"""Says much."""


def talkative() -> None:
    while True:
        print("…")
'''


COMMANDS = {
    "add_up": WORKING,
    "group": GROUP,
    "lacking": '"""Needs what is not there."""\nimport rosbags.absent\n',
    "foreign": '"""Needs another [extra]."""\nimport a_module_of_nobody\n',
    "late": '"""Needs it late."""\ndef late() -> None:\n    import a_module_of_nobody\n',
    "buggy": '"""Is wrong."""\ndef buggy() -> None:\n    print("a" + 1)\n',
    "robot": '"""Needs ROS."""\nimport imaginary_msgs.msg\n',
    "_private": "",
}
GROUPS = {
    "Sums": ("robot", "add-up"),
    "Rest": ("group", "lacking", "foreign", "late", "far-away", "buggy"),
}


def write_package(folder: Path, name: str, commands: dict[str, str]) -> str:
    (folder / name / "commands").mkdir(parents=True)
    for file, text in {"../__init__": "", "__init__": "", **commands}.items():
        (folder / name / "commands" / f"{file}.py").write_text(text, encoding="utf-8")
    return name


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Calls the application over two packages made here, and one that is not there."""
    number = abs(hash(request.node.name))
    first = {name: COMMANDS[name] for name in ("robot", "late")}
    packages = (
        write_package(tmp_path, f"first_{number}", first),
        write_package(tmp_path, f"second_{number}", dict(COMMANDS.items() - first.items())),
        "a_package_of_nobody",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    app = lazy_app(packages, GROUPS, "What it is for.")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_help_lists_every_command_even_those_that_cannot_be_imported(run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for text in ("What it is for.", "add-up", "Add two numbers.", "lacking", "Needs ROS."):
        assert text in result.output
    assert "private" not in result.output and "far-away" not in result.output
    assert "Needs another [extra]." in result.output


def test_help_lists_commands_in_groups_and_in_their_order(run) -> None:
    output = run("--help").output
    places = [output.index(word) for word in ("Sums", "robot", "add-up", "Rest", "group", "late")]
    assert places == sorted(places)


def test_a_command_of_a_package_that_is_not_installed_says_what_to_install(run) -> None:
    result = run("far-away", "--help")
    assert result.exit_code == 1
    assert "'far-away' is not installed here" in result.output
    assert "pip install '.[train]'" in result.output


def test_commands_and_groups_run(run) -> None:
    assert run("add-up", "2", "3").output == "5\n"
    assert "print the sum" in run("add-up", "--help").output
    assert run("group", "two").output == "two was called\n"


def test_a_user_s_mistake_is_one_line(run) -> None:
    result = run("add-up", "--", "-2", "3")
    assert result.exit_code == 1
    assert result.output.strip() == "error: first = -2 must be 0 or more"
    assert run("add-upp", "2", "3").exit_code == 2


def test_traceback_on_demand_alone(run) -> None:
    assert isinstance(run("--debug", "add-up", "--", "-2", "3").exception, ValueError)
    assert isinstance(run("--debug", "buggy").exception, TypeError)
    result = run("buggy")
    assert result.exit_code == 1
    assert "error: TypeError: can only" in result.output and "renderocc --debug" in result.output


def test_the_version(run) -> None:
    assert run("--version").output.strip() == __version__


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        ("lacking", "'rosbags': python"),
        ("lacking", "pip install '.[train]' in the checkout"),
        ("foreign", "pip install 'a_module_of_nobody'"),
        ("robot", "source ROS 2"),
        ("late", "error: this needs the Python module 'a_module_of_nobody'"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(run, command: str, cure: str) -> None:
    result = run(command)
    assert result.exit_code == 1
    assert cure in result.output


def test_output_that_its_reader_does_not_take(tmp_path: Path) -> None:
    """A terminal without UTF-8, and `| head -1`: neither is a mistake of the user's."""
    write_package(tmp_path, "words", {"talkative": TALKATIVE})
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from renderocc_ros.lazy_commands import lazy_app\n"
        "lazy_app(['words'], {'All': ['talkative']}, 'What it is for.')(['talkative'])"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"?\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_help_imports_no_heavy_library() -> None:
    """So --help is there at once, on every machine."""
    done = python(
        "import sys; from renderocc_ros.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'rclpy', 'rosbags', 'cv2', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout and "nuscenes-to-bag" in done.stdout


def test_the_robot_s_commands_need_no_other_package() -> None:
    done = python(
        "import sys; sys.modules |= dict.fromkeys(['renderocc_training', 'renderocc_simulation'])\n"
        "from renderocc_ros.cli import app; app(['--help'])"
    )
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout and "nuscenes-to-bag" not in done.stdout


def test_every_command_stands_in_a_group() -> None:
    folders = (Path(str(find_spec(name).origin)).parent / "commands" for name in PACKAGES)
    files = {file for folder in folders for file in folder.glob("*.py")}
    shown = {name.replace("-", "_") for names in GROUPS_OF_OURS.values() for name in names}
    assert {file.stem for file in files if not file.name.startswith("_")} == shown


COMMANDS_OF_OURS = [
    *(name for names in GROUPS_OF_OURS.values() for name in names),
    *("labels make", "labels show"),
]


def help_of(command: str, columns: int) -> str:
    environment = {"COLUMNS": str(columns)}
    shown = CliRunner().invoke(our_app, [*command.split(), "--help"], env=environment)
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.parametrize("command", COMMANDS_OF_OURS)
def test_help_shows_an_example_and_fits_eighty_columns(command: str) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 in this Python")
    shown = help_of(command, 80)
    assert f"renderocc {command} " in re.split("Options:|Arguments:", shown)[0].split("\n\n", 1)[1]
    assert max(map(len, shown.splitlines())) <= 80
    assert "…\n" not in shown  # cut
    cut = {*shown.split()} - {*help_of(command, 300).split()}
    assert {word for word in cut if len(word.strip("─")) > 0} == set()  # no word on two lines


@pytest.mark.parametrize("command", COMMANDS_OF_OURS)
def test_a_path_that_is_not_there_is_a_line_and_no_traceback(command: str, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 in this Python")
    words = command.split()
    context = our_command().make_context("renderocc", [], resilient_parsing=True)
    found = our_command().resolve_command(context, words[:1])[1]
    found = found.commands[words[1]] if words[1:] else found
    needed = [parameter for parameter in found.params if parameter.required]
    if not needed:
        pytest.skip("needs nothing")
    (tmp_path / "file").touch()
    for number, parameter in enumerate(needed):
        option = [parameter.opts[0]] if parameter.param_type_name == "option" else []
        words += [*option, str(tmp_path / "file" / f"absent{number}")]
    done = CliRunner().invoke(our_app, words)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2) and "rror" in done.output
    assert "Traceback" not in done.output and "should not happen" not in done.output


def our_command() -> typer.core.TyperGroup:
    command = typer.main.get_command(our_app)
    assert isinstance(command, typer.core.TyperGroup)
    return command


@pytest.mark.parametrize(
    ("typed", "offered"), [("ev", "evaluate"), ("simulate --pre", "--preset"), ("labels m", "make")]
)
def test_the_shell_completes(typed: str, offered: str) -> None:
    words = f"renderocc {typed}"
    completion = {
        "_RENDEROCC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "renderocc_ros.cli"],
        env={**os.environ, **completion}, capture_output=True, text=True,
    )  # fmt: skip
    assert offered in done.stdout.split(), done.stderr


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_values_from_outside_neither_begin_lines_nor_command_the_terminal() -> None:
    words = ["extract", "bag", "--rig", "a\nerror: b\x1b[31m", "--out", "x"]
    done = CliRunner().invoke(our_app, words)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: no rigs file 'a error: b\\x1b[31m'")

"""Every command and every link of the documents exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from renderocc_ros.cli import GROUPS
from tests.contracts.checkout import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("d*/**/*.md")])  # docs/, docker/
COMMANDS = {name for names in GROUPS.values() for name in names}
RUN_COMMANDS = {"demo", "test", "shell", "build", "bench", "clean"}
ANY_PROGRAM = {"python", "bash", "pytest"}  # what ./run is shown to call besides its own commands


def shell_lines(document: Path) -> list[str]:
    """The command lines in a document's sh blocks, continued ones joined, without comments."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", document.read_text("utf-8"), re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip().removeprefix("$ ") for line in lines if line.strip()]


def problem_of(arguments: list[str]) -> str | None:
    """What is wrong with one of our commands; None if nothing, or if it is not ours."""
    if arguments[:1] == ["./run"]:
        rest = _without_options(arguments[1:])
        if not rest:
            return None if {"--help", "-h"} & set(arguments) else "./run without a command"
        if rest[0] in RUN_COMMANDS:
            return None
        if rest[0] == "renderocc":
            return problem_of(rest)
        return None if rest[0] in ANY_PROGRAM else f"./run has no command {rest[0]}"
    if arguments[:1] == ["renderocc"]:
        command = next((word for word in arguments[1:] if not word.startswith("-")), None)
        if command is None or not command.islower():
            return None
        return None if command in COMMANDS else f"renderocc has no command {command}"
    if arguments[:2] == ["ros2", "launch"] and arguments[2] == "renderocc_ros":
        return (
            None if (ROOT / "launch" / arguments[3]).exists() else f"no launch file {arguments[3]}"
        )
    return None


def _without_options(arguments: list[str]) -> list[str]:
    while arguments and arguments[0].startswith("-"):
        takes_value = arguments[0] in ("--distro", "--python")
        arguments = arguments[2:] if takes_value else arguments[1:]
    return arguments


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    problems = []
    for line in shell_lines(document):
        for single in re.split(r"&&|\|\||[|;]", line):
            problem = problem_of(shlex.split(single, comments=True))
            if problem:
                problems.append(f"{line}: {problem}")
    assert problems == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text("utf-8"))
    local = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []


def test_the_check_finds_what_is_wrong() -> None:
    assert problem_of(["renderocc", "dance"]) == "renderocc has no command dance"
    assert problem_of(["./run", "--distro", "jazzy", "dance"]) == "./run has no command dance"
    assert problem_of(["./run"]) == "./run without a command"
    assert problem_of(["ros2", "launch", "renderocc_ros", "no.launch.py"])


def test_run_offers_the_commands_that_we_show() -> None:
    shown = subprocess.run([ROOT / "run", "--help"], capture_output=True, text=True, check=True)
    offered = set(re.findall(r"^\./run (\w+)", shown.stdout, re.M))
    assert offered >= RUN_COMMANDS

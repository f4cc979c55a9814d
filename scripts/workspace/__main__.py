"""`./run`: set the workspace up as far as the command needs it, then run the command in it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NoReturn

from environment import (
    OWN_ROS,
    shared_memory_shortage,
    stay_on_this_machine,
    workspace_environment,
)
from layout import DISTROS, Layout, state_root
from setup_steps import set_up
from steps import StepFailed, say, step

CHECKOUT = Path(__file__).resolve().parents[2]

HELP = """\
./run demo                        set everything up and show the node on a drive
./run demo --nuscenes DATAROOT    … on a recorded drive of nuScenes
./run test                        set everything up and pass the tests
./run test tests/rig -k offset    some tests; what follows goes to pytest
./run test --ros                  only the tests that need ROS
./run test --also kilted          all tests, and those that need ROS again on that distribution
./run shell                       a shell in the workspace: python, renderocc …
./run build                       messages and underlay only (no torch)
./run bench NAME …                benchmarks/NAME.py; what follows the names goes to each
./run bench gpu OUT               all that a GPU decides, in under eight minutes
./run renderocc --help            any command inside the workspace
./run clean                       remove the workspace: virtual environments, builds, logs
"""

NOTES = """\
No ROS 2 on this machine: the workspace gets its own, from PyPI, of the distribution that --distro
names. With a ROS 2 sourced (ROS_DISTRO set) and no --distro, that one is used.

Everything stays on this machine: DDS uses loopback and shared memory (config/fastdds_loopback.xml),
in a domain of the checkout's own from 60 to 99; RENDEROCC_DOMAIN_ID sets it. --network leaves both
as your ROS environment says; with a sourced ROS that is the default for all but demo and test.
"""

RUNTIME = ("core", "train", "view")
EVERYTHING = (*RUNTIME, "label", "export")


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    command, rest = options.command, options.arguments
    layout = _layout(options.distro)
    if command == "clean":
        return _clean(layout, only_this=options.distro is not None)
    benchmarks = _benchmarks(rest) if command == "bench" else []
    groups = {"build": (), "demo": RUNTIME, "test": (*EVERYTHING, "ray", "test")}.get(
        command, EVERYTHING
    )
    set_up(layout, groups)
    if command == "build":
        say(f"workspace: {layout.state}")
        return 0
    env = workspace_environment(layout)
    own_network = command in ("demo", "test") or layout.has_own_ros
    if own_network and not options.network:
        stay_on_this_machine(layout, env, private=command in ("demo", "test"))
        if shortage := shared_memory_shortage():
            say(f"warning: {shortage}")
    if command == "test":
        return _test(layout, env, rest)
    if command == "bench":
        return _bench(layout, env, benchmarks, rest[len(benchmarks) :])
    if command == "shell":
        say(f"workspace: {layout.state}, domain {env.get('ROS_DOMAIN_ID', '0')}; leave with exit")
        _become([os.environ.get("SHELL") or "bash", *rest], env)
    command_line = ["renderocc", "demo"] if command == "demo" else [command]
    return _become([*command_line, *rest], env)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./run",
        usage="./run [--distro NAME] [--python PATH] [--network] COMMAND …",
        description=HELP,
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--distro", choices=DISTROS, help="ROS 2 from PyPI (default: jazzy)")
    parser.add_argument("--python", metavar="PATH", help="the Python to use, 3.10 to 3.13")
    parser.add_argument("--network", action="store_true", help="do not keep DDS on this machine")
    parser.add_argument("command", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not arguments:
        parser.print_help()
        raise SystemExit(2)
    return parser.parse_args(arguments)


def _layout(distro: str | None) -> Layout:
    sourced = os.environ.get("ROS_DISTRO")
    own = os.environ.get(OWN_ROS)  # inside ./run shell
    if distro is None and sourced and own is None:
        return Layout(CHECKOUT, sourced, has_own_ros=False)
    return Layout(CHECKOUT, distro or own or DISTROS[0], has_own_ros=True)


def _clean(layout: Layout, *, only_this: bool) -> int:
    folder = layout.state if only_this else state_root(CHECKOUT)
    with step(f"removing {folder}"):
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _test(layout: Layout, env: dict[str, str], arguments: Sequence[str]) -> int:
    """Everything: ruff, mypy and pytest; with arguments pytest alone."""
    also = _also(arguments)
    if also:
        arguments = ()
    here = Path.cwd()
    pytest_arguments = [str(here / word) if (here / word).exists() else word for word in arguments]
    pytest_arguments = [
        part
        for word in pytest_arguments
        for part in (("-m", "ros") if word == "--ros" else (word,))
    ]
    env.setdefault("OMP_NUM_THREADS", "1")
    if pytest_arguments:
        return 1 if _failed(env, {"pytest": [layout.program("pytest"), *pytest_arguments]}) else 0
    # Tests with ROS wait more than they compute, so all that needs no ROS runs beside them.
    log = layout.log("tests-without-ros")
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        pytest, mypy, ruff = (layout.program(name) for name in ("pytest", "mypy", "ruff"))
        without = [pytest, "-m", "not ros"]
        beside = subprocess.Popen(without, env=env, cwd=CHECKOUT, stdout=output, stderr=output)
        checks = {
            "ruff check": [ruff, "check", "."],
            "ruff format": [ruff, "format", "--check", "."],
            "mypy": [mypy],
            "tests with ROS": [pytest, "-m", "ros"],
        }
        failed = _failed(env, checks)
        for distro in also:
            run = [str(CHECKOUT / "run"), "--python", sys.executable, "--distro", distro]
            again = [*run, "test", "--ros"]
            failed += _failed(dict(os.environ), {f"tests with ROS on {distro}": again})
        with step("the rest of the tests without ROS"):
            if beside.wait() != 0:
                failed.append("tests without ROS")
    print(log.read_text(errors="replace"), flush=True)
    if failed:
        say(f"failed: {', '.join(failed)} (what failed is printed above)")
    return 1 if failed else 0


def _also(arguments: Sequence[str]) -> Sequence[str]:
    """The distribution of `test --also NAME`, if that is what was asked for."""
    if not arguments or arguments[0] != "--also":
        return ()
    if len(arguments) != 2 or arguments[1] not in DISTROS:
        raise StepFailed(f"test --also takes one distribution, of {', '.join(DISTROS)}")
    return arguments[1:]


def _failed(env: dict[str, str], checks: dict[str, list[str]]) -> list[str]:
    """Run commands one after the other; names of those that failed."""
    failed = []
    for name, command in checks.items():
        with step(name):
            if subprocess.call(command, env=env, cwd=CHECKOUT) != 0:
                failed.append(name)
    return failed


def _benchmarks(arguments: Sequence[str]) -> list[str]:
    """The names that `bench` was given; known before anything is set up."""
    known = sorted(path.stem for path in (CHECKOUT / "benchmarks").glob("[!_]*.py"))
    names = list(takewhile(known.__contains__, arguments))
    if not names:
        raise StepFailed(
            f"bench: {list(arguments[:1]) or 'no name given'}; "
            f"there are: {', '.join(known) or 'none'}"
        )
    return names


def _bench(layout: Layout, env: dict[str, str], names: list[str], flags: Sequence[str]) -> int:
    folder = CHECKOUT / "benchmarks"
    codes = [
        subprocess.call([str(layout.python), str(folder / f"{name}.py"), *flags], env=env)
        for name in names
    ]
    return max(codes)


def _become(command: Sequence[str], env: dict[str, str]) -> NoReturn:
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        raise StepFailed(
            f"'{command[0]}' is neither a command of ./run (see ./run --help) nor a program"
        )
    sys.stdout.flush()
    os.execve(program, [program, *command[1:]], env)


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except StepFailed as error:
        say(f"failed: {error}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None

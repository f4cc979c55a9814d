"""./run: what it tells when something is wrong, and where it keeps its things."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.checkout import ROOT


@pytest.fixture(autouse=True)
def _workspace_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules of ./run importable, for one test."""
    names = ("environment", "layout", "setup_steps", "steps")
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "workspace"))
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in names:
        sys.modules.pop(name, None)


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(arguments), capture_output=True, text=True, cwd=cwd)


def test_it_works_through_a_link_in_a_path_with_a_space(tmp_path: Path) -> None:
    (tmp_path / "a path").mkdir()
    link = tmp_path / "a path" / "run"
    link.symlink_to(ROOT / "run")
    shown = run(link, "--help", cwd=Path("/"))
    assert shown.returncode == 0 and "./run demo" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--python", "/no/python", "build"], "3.10 to 3.13"),
        (["--distro", "noetic", "build"], "'jazzy', 'kilted'"),
        ([], "./run demo"),
    ],
)
def test_a_wrong_call_is_told_what_is_right(arguments: list[str], reason: str) -> None:
    done = run(ROOT / "run", *arguments)
    assert done.returncode == 2
    assert reason in done.stdout + done.stderr


def test_a_failed_step_names_its_log_and_the_cure(tmp_path: Path) -> None:
    from steps import StepFailed, run_logged

    log = tmp_path / "log" / "build.log"
    with pytest.raises(StepFailed) as failed:
        run_logged(["bash", "-c", "echo no such compiler; exit 3"], log, "install one")
    for part in ("ended with 3", "no such compiler", str(log), "cure: install one"):
        assert part in str(failed.value)
    with pytest.raises(StepFailed, match="ended with 127"):
        run_logged([tmp_path / "missing"], log, "none")


def test_missing_system_packages_are_named_where_they_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layout import Layout
    from setup_steps import _require_system_packages
    from steps import StepFailed

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepFailed, match=r"sudo apt install g\+\+ cmake make"):
        _require_system_packages(Layout(ROOT, "jazzy", True))


def test_state_is_kept_apart_and_in_a_plain_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layout import Layout, state_root

    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    first, second = Path("/home/me/my robots/renderocc"), Path("/home/me/other/renderocc")
    assert state_root(first).parent == Path("/cache/renderocc_ros")
    assert state_root(first) != state_root(second)
    kinds = [Layout(first, "jazzy", True), Layout(first, "jazzy", False), Layout(first, "x", True)]
    assert len({kind.state for kind in kinds}) == 3
    monkeypatch.setenv("XDG_CACHE_HOME", "/my cache")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    replaced = state_root(first)
    assert " " not in str(replaced)
    assert state_root(first) == replaced
    assert (tmp_path / f"cache-{os.getuid()}").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_others_have_laid_in_the_temporary_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from layout import state_root
    from steps import StepFailed

    monkeypatch.setenv("XDG_CACHE_HOME", "/my cache")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cache, theirs = tmp_path / f"cache-{os.getuid()}", tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    cache.symlink_to(theirs)
    with pytest.raises(StepFailed, match="not a folder of yours alone"):
        state_root(ROOT)
    assert not list(theirs.iterdir())
    cache.unlink()
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(StepFailed, match="not a folder of yours alone"):
        state_root(ROOT)


def test_a_stamp_holds_while_its_inputs_do(tmp_path: Path) -> None:
    from layout import digest
    from steps import Stamp

    source = tmp_path / "source"
    source.mkdir()
    (source / "a.msg").write_text("uint8 a")
    before = digest(contents=[source])
    assert digest(contents=[source]) == before != digest(names=[source])
    Stamp(tmp_path, "build", before).set()
    assert Stamp(tmp_path, "build", before).is_current
    (source / "a.msg").write_text("uint8 b")
    assert not Stamp(tmp_path, "build", digest(contents=[source])).is_current
    named = digest(names=[source])
    (source / "b.msg").touch()
    assert digest(names=[source]) != named


def test_two_private_runs_get_domains_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from environment import FIRST_DOMAIN, LAST_DOMAIN, stay_on_this_machine
    from layout import Layout

    held: list[int] = []
    monkeypatch.setattr(os, "set_inheritable", lambda number, _: held.append(number))
    layout = Layout(ROOT, "kilted", True)
    domains = []
    for _ in range(2):
        env: dict[str, str] = {}
        stay_on_this_machine(layout, env, private=True)
        domains.append(int(env["ROS_DOMAIN_ID"]))
        assert env["FASTDDS_DEFAULT_PROFILES_FILE"].endswith("config/fastdds_loopback.xml")
    for descriptor in held:
        os.close(descriptor)
    assert domains[0] != domains[1]
    assert all(FIRST_DOMAIN <= domain <= LAST_DOMAIN for domain in domains)
    env = {"RENDEROCC_DOMAIN_ID": "7"}
    stay_on_this_machine(layout, env, private=True)
    assert env["ROS_DOMAIN_ID"] == "7"


def test_unknown_benchmark_is_refused_before_anything_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = run(ROOT / "run", "bench", "nothing")
    assert done.returncode == 1 and "['nothing']; there are: extraction" in done.stderr
    assert list(tmp_path.iterdir()) == []

"""The environment that commands run in: search paths, ROS domain, DDS profile."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Iterable
from pathlib import Path

from layout import Layout

OWN_ROS = "RENDEROCC_OWN_ROS"  # set where ROS is the workspace's own, to its distribution
SHARED_MEMORY_MB = 512  # a process takes 64 MB, see config/fastdds_loopback.xml
FIRST_DOMAIN, LAST_DOMAIN = 60, 99  # above what people set by hand, below Linux' limit of 101


def workspace_environment(layout: Layout) -> dict[str, str]:
    """This process' environment with the workspace's programs, packages and libraries first."""
    env = dict(os.environ)
    env.pop("PYTHONHOME", None)
    env["VIRTUAL_ENV"] = str(layout.venv)
    ros_python = [] if layout.has_own_ros else _split(env.get("PYTHONPATH"))
    prefixes = [layout.venv] if layout.has_own_ros else _split(env.get("AMENT_PREFIX_PATH"))
    libraries = [layout.install / "lib"]
    if layout.has_own_ros:
        libraries += [layout.venv / "lib", *sorted(layout.site_packages.glob("ros_*.libs"))]
        env[OWN_ROS] = env["ROS_DISTRO"] = layout.distro
        env["ROS_VERSION"] = "2"
        env["ROS_PYTHON_VERSION"] = "3"
        env["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
        # The ROS wheels start each Python twice to set LD_LIBRARY_PATH, which is set here already.
        env["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] = "1"
        # colcon and CMake shall not look at a ROS installation that is not the workspace's.
        env.pop("COLCON_PREFIX_PATH", None)
    # Compiled once, and beside no source: without that each start of PyTorch compiles it anew.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(layout.state / "bytecode")
    # OpenMP's threads spin while they wait, which takes the cores from DDS and from each other.
    env.setdefault("OMP_WAIT_POLICY", "passive")
    env["PATH"] = _join(layout.install / "bin", layout.venv / "bin", *_split(env.get("PATH")))
    env["PYTHONPATH"] = _join(layout.installed_python, *ros_python)
    env["AMENT_PREFIX_PATH"] = _join(layout.install, *prefixes)
    env["CMAKE_PREFIX_PATH"] = _join(layout.install, *prefixes)
    env["LD_LIBRARY_PATH"] = _join(*libraries, *_split(env.get("LD_LIBRARY_PATH")))
    return env


def stay_on_this_machine(layout: Layout, env: dict[str, str], *, private: bool) -> None:
    """Keep DDS on the loopback interface, in a domain of this checkout's own.

    The domain comes from the checkout's path, so that a second ./run sees what the first publishes.
    A private one is that domain, or the next that no other private ./run on this machine holds.
    RENDEROCC_DOMAIN_ID sets it by hand.
    """
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    before_fast_dds_3 = layout.distro in ("humble", "iron", "jazzy")
    env.pop(names[not before_fast_dds_3], None)
    env[names[before_fast_dds_3]] = str(layout.checkout / "config" / "fastdds_loopback.xml")
    env["RMW_IMPLEMENTATION"] = "rmw_fastrtps_cpp"
    env["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SYSTEM_DEFAULT"  # leave discovery to the profile
    env.pop("FASTDDS_BUILTIN_TRANSPORTS", None)
    env.pop("ROS_STATIC_PEERS", None)
    given = env.get("RENDEROCC_DOMAIN_ID")
    count = LAST_DOMAIN - FIRST_DOMAIN + 1
    first = zlib.crc32(str(layout.checkout).encode()) % count
    if given is not None:
        env["ROS_DOMAIN_ID"] = given
    elif not private:
        env["ROS_DOMAIN_ID"] = str(FIRST_DOMAIN + first)
    else:
        order = [FIRST_DOMAIN + (first + i) % count for i in range(count)]
        env["ROS_DOMAIN_ID"] = str(next((d for d in order if _take_domain(d)), order[0]))


def shared_memory_shortage() -> str | None:
    """What to tell a user whose shared memory is too small for images; None where it is not."""
    try:
        state = os.statvfs("/dev/shm")
    except OSError:
        return None
    free_mb = state.f_bavail * state.f_frsize // 2**20
    if free_mb >= SHARED_MEMORY_MB:
        return None
    return (
        f"only {free_mb} MB of shared memory (/dev/shm) are free: large raw images may get lost; "
        f"give {SHARED_MEMORY_MB} MB (docker run --shm-size=1g)"
    )


def _take_domain(domain: int) -> bool:
    """Hold a domain for the rest of this process, across exec, on this machine's network.

    It is the abstract name of a socket: no file that another user could have put there.
    """
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0renderocc-domain-{domain}")
    except OSError:  # another ./run has it
        holder.close()
        return False
    os.set_inheritable(holder.detach(), True)
    return True


def _split(value: str | None) -> list[str]:
    return [part for part in (value or "").split(os.pathsep) if part]


def _join(*parts: str | Path) -> str:
    unique: Iterable[str] = dict.fromkeys(str(part) for part in parts)
    return os.pathsep.join(unique)

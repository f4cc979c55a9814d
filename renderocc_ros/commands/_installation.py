"""What is installed on this machine, and the cure for what is not. Needs nothing itself."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable, Iterator

from renderocc_ros.rig.checkup import Check, Level

SHARED_MEMORY_MB = 256
ROS_CURE = "source ROS 2 and this workspace, or call it through ./run"


def installation() -> Iterator[Check]:
    """Everything that the node stands on."""
    yield Check("ok", "Python", f"{platform.python_version()} on {platform.machine()}")
    yield from _ros()
    for name, module, cure in (
        ("messages", "renderocc_ros.msg", "build the workspace: colcon build, or ./run build"),
        ("message_filters", "message_filters", ROS_CURE),
        ("tf2_ros", "tf2_ros", ROS_CURE),
        ("cv_bridge", "cv_bridge", ROS_CURE),
    ):
        yield _importable(name, module, cure)
    yield from _opencv()
    yield from _torch()
    yield _importable("transformers", "transformers", "pip install 'transformers>=5,<6'")
    for name, module, use in (
        ("rosbags", "rosbags", "play recordings"),
        ("pyvista", "pyvista", "render pictures of voxels"),
        ("nuscenes-devkit", "nuscenes", "look at data sets with nuScenes' own tools"),
        ("onnxruntime", "onnxruntime", "run exported models"),
    ):
        importable = _importable(name, module, f"to {use}: pip install {name}")
        yield (
            importable
            if importable.level == "ok"
            else Check("note", name, "not installed", importable.cure)
        )
    yield _shared_memory()


def _ros() -> Iterator[Check]:
    try:
        import rclpy
        from rclpy.utilities import get_rmw_implementation_identifier
    except ImportError as error:
        yield Check("wrong", "ROS 2", f"no rclpy ({error})", ROS_CURE)
        return
    distro = os.environ.get("ROS_DISTRO", "distribution not named in ROS_DISTRO")
    version = _version("rclpy") or _version("ros-rclpy") or os.path.dirname(rclpy.__file__)
    yield Check("ok", "ROS 2", f"{distro}, rclpy {version}")
    yield Check("ok", "middleware", get_rmw_implementation_identifier())
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")
    profile = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE", "")
    profile = profile or os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")
    shown = f"domain {domain}, discovery {reach}" + (f", profile {profile}" if profile else "")
    yield Check("ok", "network", shown)


def _opencv() -> Iterator[Check]:
    try:
        import cv2
    except ImportError as error:
        yield Check("wrong", "OpenCV", str(error), "pip install 'opencv-python-headless<5'")
        return
    if int(cv2.__version__.split(".")[0]) >= 5:
        cure = "cv_bridge needs OpenCV 4: pip install 'opencv-python-headless<5'"
        yield Check("wrong", "OpenCV", cv2.__version__, cure)
    else:
        yield Check("ok", "OpenCV", cv2.__version__)


def _torch() -> Iterator[Check]:
    try:
        import torch
    except ImportError as error:
        yield Check("wrong", "PyTorch", str(error), "pip install torch")
        return
    yield Check("ok", "PyTorch", torch.__version__)
    if torch.cuda.is_available():
        capability = "{}.{}".format(*torch.cuda.get_device_capability())
        built = torch.cuda.get_arch_list()
        shown = f"{torch.cuda.get_device_name()}, compute {capability}, CUDA {torch.version.cuda}"
        fits = any(arch.endswith(capability.replace(".", "")) for arch in built)
        cure = f"this PyTorch is built for {', '.join(built)}: install one for this GPU"
        yield Check("ok", "GPU", shown) if fits else Check("note", "GPU", shown, cure)
    elif shutil.which("nvidia-smi"):
        cure = "a driver is there: install a PyTorch with CUDA from pytorch.org"
        yield Check("note", "GPU", "PyTorch does not see it", cure)
    else:
        yield Check("ok", "GPU", "none; the network runs on the CPU")


def _importable(name: str, module: str, cure: str) -> Check:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken library fails at import in any way
        return Check("wrong", name, f"{type(error).__name__}: {error}", cure)
    return Check("ok", name, _version(name) or "there")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _shared_memory() -> Check:
    try:
        free_mb = shutil.disk_usage("/dev/shm").free // 2**20
    except OSError:
        return Check("note", "shared memory", "no /dev/shm", "large images go over UDP")
    cure = f"large raw images may get lost: give {SHARED_MEMORY_MB} MB (docker --shm-size=1g)"
    level: Level = "ok" if free_mb >= SHARED_MEMORY_MB else "note"
    return Check(level, "shared memory", f"{free_mb} MB free", "" if level == "ok" else cure)


def attempt(subject: str, action: Callable[[], str], cure: str) -> Check:
    """A check that is wrong where the action raises ValueError, with the error's words."""
    try:
        return Check("ok", subject, action())
    except ValueError as error:
        return Check("wrong", subject, str(error), cure)

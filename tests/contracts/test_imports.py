"""Who may import whom, read from the source."""

from __future__ import annotations

import sys
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.contracts.checkout import (
    PACKAGES,
    ROOT,
    Import,
    imports_of,
    normalised,
    package_xml,
    required,
    sources,
)

# A part of a package may import those in the lines above its own: no sibling, nothing below.
LAYERS = {
    "renderocc_ros": (
        ("geometry", "class_set", "kernels", "paths", "processes", "files", "old_typer"),
        ("outside_data", "progress"),
        ("yaml_files",),
        ("config", "lazy_commands"),
        ("network_config", "settings"),
        ("rig", "network"),
        ("checkpoint", "occupancy", "rendering"),
        ("checkpoint_convert", "export", "viewing", "hub"),
        ("prediction",),
        ("node", "occupancy_model"),
        ("tools",),
        ("commands", "cli"),
    ),
    "renderocc_training": (
        ("recipe", "recording"),
        ("sequences",),
        ("supervision",),
        ("samples",),
        ("losses", "rendering"),
        ("evaluation",),
        ("report", "trainer"),
        ("study",),
        ("commands", "cli"),
    ),
}
RANK = {
    (package, part): rank
    for package, lines in LAYERS.items()
    for rank, parts in enumerate(lines)
    for part in parts
}
# What a package may import of the others. Commands stand on top of all.
NEIGHBOURS = {
    "renderocc_ros": set(),
    "renderocc_training": {"renderocc_ros"},
    "renderocc_simulation": {"renderocc_ros", "renderocc_training.recording"},
}
# Need ROS or an extra.
OPTIONAL = ("node", "occupancy", "tools", "commands", "viewing", "kernels")
# May import rclpy and message packages: the live node, what runs beside it, the commands that start
# either, and the conversions of the result to and from its messages.
KNOW_ROS = tuple(
    ROOT / "renderocc_ros" / part
    for part in ("node", "tools", "commands", "occupancy/ros_messages.py", "occupancy/markers.py")
)
ROS_PACKAGES = {"rclpy", "cv_bridge", "message_filters", "sensor_msgs_py", "tf2_ros", "launch"}


def part_of(dotted: str) -> str:
    """The part of its package that a module belongs to."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else ""


def all_imports(package: str) -> list[Import]:
    return [entry for file in sources(package) for entry in imports_of(file)]


def part_of_file(file: Path) -> str:
    package = next(root / name for name, root in PACKAGES.items() if root / name in file.parents)
    return file.relative_to(package).with_suffix("").parts[0]


def is_ros(module: str) -> bool:
    top = module.split(".")[0]
    return top in ROS_PACKAGES or top.startswith(("launch_", "tf2_")) or top.endswith("_msgs")


def goes_up(package: str, part: str, module: str) -> bool:
    """Whether a part of a package imports what lies beside or above it."""
    other = module.split(".")[0]
    if other == package:
        target = part_of(module)
        if target in ("", part, "msg") or (package, target) not in RANK:
            return False
        return RANK[package, target] >= RANK.get((package, part), len(RANK))  # none: __init__
    if other not in PACKAGES or part == "commands":
        return False
    return not any(f"{module}.".startswith(f"{name}.") for name in NEIGHBOURS[package])


@pytest.mark.parametrize("package", LAYERS)
def test_every_part_has_its_place_in_the_order(package: str) -> None:
    parts = {part_of_file(file) for file in sources(package)} - {"__init__"}
    assert parts == {part for name, part in RANK if name == package}


@pytest.mark.parametrize("package", PACKAGES)
def test_nuscenes_is_read_without_its_devkit(package: str) -> None:
    """Which asks for numpy 1 and is not to be had for Python 3.13 and later.

    Only where a split is named, it is asked for its list, and missing there with a cure.
    """
    lists = ROOT / "training" / "renderocc_training" / "sequences" / "nuscenes_splits.py"
    wrong = [
        str(entry)
        for entry in all_imports(package)
        if entry.module.split(".")[0] == "nuscenes" and entry.file != lists
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_arrows_go_one_way(package: str) -> None:
    wrong = [
        str(entry)
        for entry in all_imports(package)
        if goes_up(package, part_of_file(entry.file), entry.module)
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_loop() -> None:
    """Not even inside a folder, nor from within a function."""
    module_of = {
        ".".join(file.relative_to(PACKAGES[package]).with_suffix("").parts): file
        for package in PACKAGES
        for file in sources(package)
        if file.name != "__init__.py"
    }
    graph: dict[str, set[str]] = {}
    for name, file in module_of.items():
        imported = {entry.module for entry in imports_of(file)}
        imported |= {module.rpartition(".")[0] for module in imported}
        graph[name] = imported & module_of.keys() - {name}
    TopologicalSorter(graph).prepare()


def test_the_order_refuses_siblings_and_what_lies_above() -> None:
    assert goes_up("renderocc_training", "samples", "renderocc_training.trainer.loop")
    assert goes_up("renderocc_training", "losses", "renderocc_training.rendering.paper_head")
    assert goes_up("renderocc_ros", "rig", "renderocc_training.recording.bag_reader")
    assert goes_up("renderocc_simulation", "truth", "renderocc_training.samples.images")
    assert not goes_up("renderocc_simulation", "truth", "renderocc_training.recording.messages")
    assert not goes_up("renderocc_training", "losses", "renderocc_training.samples.images")


def test_only_commands_know_the_node() -> None:
    wrong = [
        str(entry)
        for package in PACKAGES
        for entry in all_imports(package)
        if entry.module.startswith("renderocc_ros.node")
        and not entry.file.is_relative_to(ROOT / "renderocc_ros" / "node")
        and not {"commands", "tools"} & set(entry.file.parts)
    ]
    assert wrong == []


def test_ros_is_imported_by_the_parts_that_may_alone() -> None:
    wrong = [
        str(entry)
        for package in PACKAGES
        for entry in all_imports(package)
        if (is_ros(entry.module) or entry.module.startswith("renderocc_ros.msg"))
        and not any(entry.file.is_relative_to(part) for part in KNOW_ROS)
    ]
    assert wrong == []


def test_rosbags_is_known_to_recording_and_the_player_alone() -> None:
    allowed = (
        ROOT / "training" / "renderocc_training" / "recording",
        ROOT / "renderocc_ros" / "tools" / "player.py",
    )
    wrong = [
        str(entry)
        for package in PACKAGES
        for entry in all_imports(package)
        if entry.module.split(".")[0] == "rosbags"
        and not any(entry.file.is_relative_to(path) for path in allowed)
    ]
    assert wrong == []


def test_network_siblings_meet_in_renderocc_alone() -> None:
    """What the networks are composed of does not know the composition."""
    siblings = {"image_backbone", "depth_head", "view_lifting", "voxel_encoder", "occupancy_field"}
    folder = ROOT / "renderocc_ros" / "network"
    wrong = [
        str(entry)
        for name in siblings
        for entry in imports_of(folder / f"{name}.py")
        if set(entry.module.split(".")[2:3]) & (siblings - {name})
        and entry.module.startswith("renderocc_ros.network.")
    ]
    assert wrong == []


def test_what_loads_at_once_is_required_by_pip() -> None:
    """Imports at the top of the robot side's modules, without node, are in requirements/core.txt.

    A command may need an extra: it is imported only when called. So are kernels, where Triton is.
    """
    distributions = packages_distributions()
    core = required("core")
    wrong = []
    for entry in all_imports("renderocc_ros"):
        top = entry.module.split(".")[0]
        optional = part_of_file(entry.file) in OPTIONAL
        if optional or not entry.at_top or top in sys.stdlib_module_names | set(PACKAGES):
            continue
        if not core & {normalised(name) for name in distributions.get(top, [top])}:
            wrong.append(str(entry))
    assert wrong == []


@pytest.mark.parametrize("folder", ["renderocc_ros", "launch"])
def test_package_xml_names_every_ros_package_that_is_imported(folder: str) -> None:
    declared = {
        str(element.text)
        for element in package_xml()
        if element.tag in ("depend", "exec_depend", "build_depend")
    }
    wrong = [
        str(entry)
        for file in sorted((ROOT / folder).rglob("*.py"))
        for entry in imports_of(file)
        if is_ros(entry.module) and entry.module.split(".")[0] not in declared
    ]
    assert wrong == []

"""The node's parameters: default, meaning, bounds and type of each stand here and nowhere else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, get_args

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidTopicNameException, ParameterUninitializedException
from rclpy.parameter import Parameter
from rclpy.validate_topic_name import validate_topic_name

from renderocc_ros.config import Backend, MissingPolicy, Precision
from renderocc_ros.occupancy.point_cloud import Unseen

OUTPUTS = (
    *("points", "markers", "occupancy", "costmap", "obstacles", "clearing", "heights"),
    *("map", "map_points", "map_costmap", "rendered"),
)
# Their messages lie in packages of their own, which may be missing: only where they are asked for.
OPTIONAL_OUTPUTS = ("detections", "octomap", "voxel_grid")
AS_IN_RIG = "as the rig file says"


class Change(Enum):
    """When a parameter may change."""

    ANY_TIME = "any time"
    INPUTS = "any time; while active the cameras are subscribed to anew"
    UNCONFIGURED = "in the lifecycle state 'unconfigured' only: call cleanup, set it, configure"
    START = "at start only"


@dataclass(frozen=True)
class Spec:
    """What is known of one parameter besides its default."""

    description: str
    name: str = ""
    lowest: float | None = None
    highest: float | None = None
    choices: tuple[str, ...] = ()
    change: Change = Change.ANY_TIME


def _parameter(default: Any, description: str, **more: Any) -> Any:
    spec = Spec(description, **more)
    if isinstance(default, tuple):
        return field(default_factory=lambda: default, metadata={"spec": spec})
    return field(default=default, metadata={"spec": spec})


@dataclass(frozen=True)
class NodeParameters:
    """A snapshot of all parameters."""

    rig: str = _parameter(
        "nuscenes",
        "cameras, frames and synchronisation: name of a shipped rig or path of a rig .yaml",
        change=Change.UNCONFIGURED,
    )
    checkpoint: str = _parameter(
        "",
        "path of a .safetensors checkpoint, or hf://organisation/name on the Hugging Face hub; "
        "empty: 'network' with the weights that come with it, or random ones where there are none",
        change=Change.UNCONFIGURED,
    )
    network: str = _parameter(
        "nano",
        "without a checkpoint: name of a shipped network or path of a network .yaml",
        change=Change.UNCONFIGURED,
    )
    device: str = _parameter(
        "auto",
        "where the network runs: auto (the GPU if there is one), cpu, cuda, cuda:1 …",
        change=Change.UNCONFIGURED,
    )
    backend: str = _parameter(
        "eager",
        "how the network runs: eager; compile (torch.compile, slow to start); cuda_graph; openvino "
        "(an exported .onnx on the CPU; onnxruntime runs one else)",
        choices=get_args(Backend),
        change=Change.UNCONFIGURED,
    )
    precision: str = _parameter(
        "auto",
        "of the network's convolutions; auto: bf16 on a CPU that is faster with it, else fp32",
        choices=get_args(Precision),
        change=Change.UNCONFIGURED,
    )
    threads: int = _parameter(
        0,
        "CPU threads of the network; 0: as many as torch thinks",
        lowest=0,
        highest=256,
        change=Change.START,
    )
    autostart: bool = _parameter(
        True,
        "configure and activate at start; false: wait for a lifecycle manager",
        change=Change.START,
    )
    threshold: float = _parameter(
        -1.0,
        "probability above which a voxel is occupied; negative: the checkpoint's own",
        lowest=-1.0,
        highest=1.0,
    )
    min_confidence: float = _parameter(
        0.0, "points less sure than this (0 to 1) are not published", lowest=0.0, highest=1.0
    )
    unseen: str = _parameter(
        "hide",
        "occupied voxels that no camera looks into, in points and markers: hide, or grey",
        choices=get_args(Unseen),
    )
    max_rate_hz: float = _parameter(
        0.0,
        "sets processed per second at most, the newest ones; 0: as many as possible",
        lowest=0.0,
        highest=1000.0,
    )
    outputs: tuple[str, ...] = _parameter(
        OUTPUTS,
        "topics to publish while somebody subscribes to them; there are also "
        f"{', '.join(OPTIONAL_OUTPUTS)}",
        choices=(*OUTPUTS, *OPTIONAL_OUTPUTS),
    )
    points_classes: tuple[str, ...] = _parameter(
        (), "classes in points, by name; empty: all", name="points.classes"
    )
    markers_classes: tuple[str, ...] = _parameter(
        (), "classes in markers, by name; empty: all", name="markers.classes"
    )
    occupancy_classes: tuple[str, ...] = _parameter(
        (),
        "classes in occupancy, by name; empty: all. Voxels of the others are unknown there",
        name="occupancy.classes",
    )
    octomap_classes: tuple[str, ...] = _parameter(
        (),
        "classes in octomap, by name; empty: all. Voxels of the others are unknown there",
        name="octomap.classes",
    )
    voxel_grid_classes: tuple[str, ...] = _parameter(
        (),
        "classes in voxel_grid, by name; empty: all. Voxels of the others are unknown there",
        name="voxel_grid.classes",
    )
    detections_classes: tuple[str, ...] = _parameter(
        (), "classes in detections, by name; empty: those that move", name="detections.classes"
    )
    detections_min_voxels: int = _parameter(
        2,
        "objects of fewer voxels are not among the detections",
        name="detections.min_voxels",
        lowest=1,
        highest=1_000_000,
    )
    marker_limit: int = _parameter(
        50_000,
        "most cubes in one message of markers, the surest stay",
        lowest=1,
        highest=10_000_000,
    )
    cameras: tuple[str, ...] = _parameter(
        (),
        "cameras of the rig to use, by name; empty: all. The others count as missing",
        change=Change.INPUTS,
    )
    image_reliability: str = _parameter(
        "best_effort",
        "how images are subscribed to; best_effort receives from every publisher, reliable from "
        "reliable ones only and without loss",
        choices=("best_effort", "reliable"),
        change=Change.INPUTS,
    )
    image_depth: int = _parameter(
        2, "images kept by the middleware per camera", lowest=1, highest=100, change=Change.INPUTS
    )
    sync_missing: str = _parameter(
        "",
        f"a camera that brings no image: wait, skip the set, mask it, reuse its last; "
        f"empty: {AS_IN_RIG}",
        name="sync.missing",
        choices=("", *get_args(MissingPolicy)),
        change=Change.INPUTS,
    )
    sync_period_s: float = _parameter(
        -1.0,
        f"seconds between two trigger cycles; 0: learned from the stream; negative: {AS_IN_RIG}",
        name="sync.period_s",
        lowest=-1.0,
        highest=60.0,
        change=Change.INPUTS,
    )
    sync_timeout_s: float = _parameter(
        -1.0,
        f"seconds that a set waits for its other cameras; negative: {AS_IN_RIG}",
        name="sync.timeout_s",
        lowest=-1.0,
        highest=60.0,
        change=Change.INPUTS,
    )
    sync_min_cameras: int = _parameter(
        0,
        f"fewest images with which a set is still used; 0: {AS_IN_RIG}",
        name="sync.min_cameras",
        lowest=0,
        highest=256,
        change=Change.INPUTS,
    )
    transform_timeout_s: float = _parameter(
        0.2,
        "seconds that a set waits for its transforms",
        lowest=0.0,
        highest=60.0,
        change=Change.INPUTS,
    )
    costmap_height_m: tuple[float, ...] = _parameter(
        (0.3, 2.0),
        "lowest and highest height in the base frame, metres, that blocks the robot",
        name="costmap.height_m",
    )
    costmap_classes: tuple[str, ...] = _parameter(
        (),
        "classes that block the robot, by name; empty: all but those that are ground",
        name="costmap.classes",
    )
    costmap_cell_m: float = _parameter(
        0.05,
        "edge of the cells of Nav2's costmap, metres: obstacles and clearing miss none of them",
        name="costmap.cell_m",
        lowest=0.02,
        highest=1.0,
    )
    costmap_range_m: float = _parameter(
        10.0,
        "farthest obstacles and clearing from the base frame's origin, metres",
        name="costmap.range_m",
        lowest=1.0,
        highest=100.0,
    )
    costmap_start_m: float = _parameter(
        1.0,
        "clearing begins so far from the base frame's origin, metres: where the robot itself ends",
        name="costmap.start_m",
        lowest=0.0,
        highest=10.0,
    )
    map_enabled: bool = _parameter(
        False, "keep a map of all sets in the rig's odom_frame", name="map.enabled"
    )
    map_size_m: float = _parameter(
        100.0,
        "length and width of the map around the robot, metres; another size begins a new map",
        name="map.size_m",
        lowest=1.0,
        highest=1000.0,
    )
    map_moving_half_life_s: float = _parameter(
        0.5,
        "seconds in which what moves loses half its evidence in the map while nobody looks",
        name="map.moving_half_life_s",
        lowest=0.05,
        highest=3600.0,
    )
    map_save_as: str = _parameter(
        "npz",
        "format in which the service ~/save_map writes the map; bt is OctoMap's",
        name="map.save_as",
        choices=("npz", "ply", "pcd", "bt"),
    )
    rendered_classes: tuple[str, ...] = _parameter(
        (),
        "classes in rendered, by name; empty: all. Of the others neither class nor depth is shown",
        name="rendered.classes",
    )
    rendered_width_px: int = _parameter(
        176,
        "width of the semantics and depth images rendered per camera, pixels",
        name="rendered.width_px",
        lowest=16,
        highest=1024,
    )
    self_check_enabled: bool = _parameter(
        True,
        "compare the cameras' images with the robot's motion while it drives: frozen, swapped, "
        "turned or dirty cameras are told in /diagnostics",
        name="self_check.enabled",
    )
    self_check_still_percent: float = _parameter(
        12.0,
        "part of an image that may stay as it is while the robot drives, such as the robot itself; "
        "more is taken for dirt on the lens",
        name="self_check.still_percent",
        lowest=0.0,
        highest=100.0,
    )
    self_check_points_topic: str = _parameter(
        "",
        "PointCloud2 of a LiDAR to compare the network's depth with, which tells turned mountings; "
        "empty: none. Needs odometry and a .safetensors checkpoint",
        name="self_check.points_topic",
        change=Change.INPUTS,
    )
    save_folder: str = _parameter(
        "~/.ros/renderocc",
        "where the services ~/save (.npz of the last result) and ~/save_map write",
    )
    diagnostics_period_s: float = _parameter(
        0.5, "seconds between two messages on /diagnostics", lowest=0.05, highest=10.0
    )


SPECS: Mapping[str, Spec] = {
    (entry.metadata["spec"].name or entry.name): entry.metadata["spec"]
    for entry in fields(NodeParameters)
}
_FIELD_OF = {(f.metadata["spec"].name or f.name): f.name for f in fields(NodeParameters)}
DEFAULTS: Mapping[str, Any] = {
    name: getattr(NodeParameters(), field_name) for name, field_name in _FIELD_OF.items()
}


def declare(node: Any) -> None:
    """Declare all parameters on an rclpy node.

    Raises:
        ValueError: a value given at start is of the wrong type or out of its range.
    """
    for name, spec in SPECS.items():
        try:
            _declare(node, name, spec)
        except Exception as error:  # rclpy has many kinds, all of them the user's to mend
            raise ValueError(f"parameter '{name}': {error}; {spec.description}") from error
    check(read(node))


def read(node: Any) -> NodeParameters:
    """The present values."""
    return NodeParameters(
        **{field_name: _frozen(_value(node, name)) for name, field_name in _FIELD_OF.items()}
    )


def with_changes(present: NodeParameters, changes: Mapping[str, Any]) -> NodeParameters:
    """The snapshot with some values changed; names that are no parameter of ours are left out."""
    values = {entry.name: getattr(present, entry.name) for entry in fields(NodeParameters)}
    for name, value in changes.items():
        if name in _FIELD_OF:
            values[_FIELD_OF[name]] = _frozen(value)
    return NodeParameters(**values)


def refusal(
    present: NodeParameters,
    changes: Mapping[str, Any],
    unconfigured: bool,
    camera_names: tuple[str, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> str:
    """Why a change is refused and what would be accepted; empty if it is fine.

    Args:
        present: the values before the change.
        changes: new values by parameter name.
        unconfigured: whether the node is in the lifecycle state 'unconfigured'.
        camera_names: the rig's cameras, None before it is loaded.
        class_names: the network's classes, None before it is loaded.
    """
    for name in changes:
        spec = SPECS.get(name)
        if spec and spec.change is Change.UNCONFIGURED and not unconfigured:
            return f"'{name}' can change {spec.change.value}"
    wanted = with_changes(present, changes)
    for name, field_name in _FIELD_OF.items():
        reason = _value_refusal(name, SPECS[name], getattr(wanted, field_name))
        if reason:
            return reason
    for name, field_name in _FIELD_OF.items():
        names = {"cameras": camera_names, "classes": class_names}.get(name.rpartition(".")[2])
        names_given = getattr(wanted, field_name) if names is not None else ()
        for word in set(names_given).difference(names or ()):
            return f"{name}: there is no '{word}'{_nearest(word, names or ())}"
    if camera_names is not None:
        in_use = len(wanted.cameras or camera_names)
        if wanted.sync_min_cameras > in_use:
            return (
                f"sync.min_cameras = {wanted.sync_min_cameras}, but {in_use} cameras are in use: "
                f"take 0 to {in_use}"
            )
    if topic := wanted.self_check_points_topic:
        try:
            validate_topic_name(topic)
        except InvalidTopicNameException as error:
            return f"self_check.points_topic = '{topic}' is no name of a topic: {error}"
    heights = wanted.costmap_height_m
    if len(heights) != 2 or not heights[0] < heights[1]:
        return f"costmap.height_m = {list(heights)}: give two heights, the lower one first"
    return ""


def check(
    present: NodeParameters,
    camera_names: tuple[str, ...] | None = None,
    class_names: tuple[str, ...] | None = None,
) -> None:
    """Raise a ValueError where values are refused; see :func:`refusal`."""
    if reason := refusal(present, {}, True, camera_names, class_names):
        raise ValueError(reason)


def _value_refusal(name: str, spec: Spec, value: Any) -> str:
    for word in value if isinstance(value, tuple) else (value,):
        if spec.choices and word not in spec.choices:
            shown = ", ".join(repr(choice) for choice in spec.choices)
            return f"{name}: '{word}' is not one of {shown}"
        if spec.lowest is not None and not spec.lowest <= word <= (spec.highest or spec.lowest):
            return f"{name} = {word} is outside {spec.lowest} to {spec.highest}"
    return ""


def _nearest(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known)}"


def _declare(node: Any, name: str, spec: Spec) -> None:
    descriptor = ParameterDescriptor(
        description=spec.description,
        additional_constraints=_constraints(spec),
        read_only=spec.change is Change.START,
    )
    default = DEFAULTS[name]
    if spec.lowest is not None and isinstance(default, int):
        bounds = IntegerRange(from_value=int(spec.lowest), to_value=int(spec.highest or 0))
        descriptor.integer_range = [bounds]
    elif spec.lowest is not None:
        floats = FloatingPointRange(from_value=spec.lowest, to_value=spec.highest or 0.0)
        descriptor.floating_point_range = [floats]
    if isinstance(default, tuple):
        # An empty default has no type of its own, so the type is declared and the value set.
        has_numbers = bool(default) and isinstance(default[0], float)
        kind = Parameter.Type.DOUBLE_ARRAY if has_numbers else Parameter.Type.STRING_ARRAY
        node.declare_parameter(name, kind, descriptor)
        if _is_unset(node, name):
            node.set_parameters([Parameter(name, kind, list(default))])
    else:
        node.declare_parameter(name, default, descriptor)


def _constraints(spec: Spec) -> str:
    choices = ", ".join(repr(choice) for choice in spec.choices)
    limits = [f"one of {choices}"] if choices else []
    return "; ".join([*limits, f"can change {spec.change.value}"])


def _is_unset(node: Any, name: str) -> bool:
    try:
        return node.get_parameter(name).type_ is Parameter.Type.NOT_SET
    except ParameterUninitializedException:
        return True


def _value(node: Any, name: str) -> Any:
    return node.get_parameter(name).value


def _frozen(value: Any) -> Any:
    """Arrays (rclpy gives lists and array.array) as tuples."""
    is_scalar = isinstance(value, str | int | float | bool)
    return value if is_scalar else tuple(value if value is not None else ())

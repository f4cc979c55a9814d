"""The live node on a robot's cameras.

    ros2 launch renderocc_ros live.launch.py rig:=my_rig.yaml checkpoint:=model.safetensors
    ros2 launch renderocc_ros live.launch.py -s        lists all arguments

The node brings itself up: what is missing is in its log and, within a second, on /diagnostics.
"""

from __future__ import annotations

import os
from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.logging import launch_config
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

SHARE = FindPackageShare("renderocc_ros")

# Arguments that set the parameter of the same name; empty leaves it as the parameter file says.
PARAMETERS = {
    "rig": "cameras, frames, synchronisation: name of a shipped rig or path of a rig .yaml",
    "checkpoint": "path of a .safetensors checkpoint; none: the weights that come with the network",
    "network": "without a checkpoint: name of a shipped network",
    "device": "auto, cpu, cuda, cuda:1 …",
    "autostart": "false: wait for a lifecycle manager to configure and activate",
}
ARGUMENTS = {
    "params_file": (
        PathJoinSubstitution([SHARE, "config", "node.yaml"]),
        "parameters of the node; a copy of config/node.yaml",
    ),
    "namespace": ("", "namespace of the node and of relative topics"),
    "node_name": ("renderocc", "name of the node; two side by side need two"),
    "use_sim_time": ("false", "take the time from /clock"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "respawn": ("false", "start the node again, after two seconds, when it ends by itself"),
    "rviz": ("false", "open rviz2, set up for the rig and the network"),
}


def generate_launch_description() -> LaunchDescription:
    """Entry point of ros2 launch."""
    declared = [
        DeclareLaunchArgument(name, default_value="", description=f"{text} (empty: as params_file)")
        for name, text in PARAMETERS.items()
    ]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    # rviz first: where it is not installed the launch ends there, before it has started anything.
    rviz = OpaqueFunction(function=rviz2, condition=IfCondition(LaunchConfiguration("rviz")))
    return LaunchDescription([*declared, rviz, OpaqueFunction(function=occupancy_node)])


def rviz2(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """rviz2 with a configuration written for this rig and network, into the launch's log folder."""
    from renderocc_ros.tools.launched_node import launched_node
    from renderocc_ros.viewing.rviz_config import rviz_config

    value = {name: LaunchConfiguration(name).perform(context) for name in (*PARAMETERS, *ARGUMENTS)}
    name = "/".join(("", value["namespace"].strip("/"), value["node_name"])).replace("//", "/")
    given = {key: value[key] for key in PARAMETERS if value[key]}
    file = Path(launch_config.get_log_file_path(f"{value['node_name']}.rviz"))
    file.write_text(rviz_config(launched_node(name, Path(value["params_file"]), given)))
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            arguments=["-d", str(file)],
            parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}],
        )
    ]


def occupancy_node(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The node with those parameters that were given; its end, unless it respawns, ends all."""
    given = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    chosen = {name: value for name, value in given.items() if value}
    if "autostart" in chosen:
        chosen["autostart"] = chosen["autostart"].lower() in ("true", "1")
    use_sim_time, respawn = (
        LaunchConfiguration(name).perform(context).lower() in ("true", "1")
        for name in ("use_sim_time", "respawn")
    )
    ended = None if respawn else Shutdown(reason="the occupancy node has ended")
    return [
        Node(
            package="renderocc_ros",
            executable="occupancy_node",
            name=LaunchConfiguration("node_name"),
            namespace=LaunchConfiguration("namespace"),
            parameters=[
                LaunchConfiguration("params_file"),
                {"use_sim_time": use_sim_time, **chosen},
            ],
            arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            output="screen",
            additional_env={"RENDEROCC_LAUNCH_PID": str(os.getpid())},
            respawn=respawn,
            respawn_delay=2.0,
            on_exit=ended,
        )
    ]

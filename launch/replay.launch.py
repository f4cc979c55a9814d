"""The live node on a recording, through the same code as on the robot.

ros2 launch renderocc_ros replay.launch.py bag:=drive rig:=my_rig.yaml rviz:=true
"""

from __future__ import annotations

import os
from pathlib import Path

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity

LIVE = PathJoinSubstitution([FindPackageShare("renderocc_ros"), "launch", "live.launch.py"])

ARGUMENTS = {
    "rate": ("1.0", "2 plays twice as fast"),
    "start": ("0.0", "skip so many seconds"),
    "loop": ("false", "start again at the end, until stopped"),
    "clock": ("true", "run on the recording's time: /clock, and use_sim_time of the node"),
}


def generate_launch_description() -> LaunchDescription:
    """Entry point of ros2 launch; it takes the arguments of live.launch.py as well."""
    declared = [
        DeclareLaunchArgument("bag", description="the recording: rosbag2 folder, .mcap or .db3"),
        *(
            DeclareLaunchArgument(name, default_value=default, description=text)
            for name, (default, text) in ARGUMENTS.items()
        ),
    ]
    live = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(LIVE),
        launch_arguments={"use_sim_time": LaunchConfiguration("clock")}.items(),
    )
    there = OpaqueFunction(function=require_bag)
    return LaunchDescription([*declared, there, live, OpaqueFunction(function=player)])


def require_bag(context: LaunchContext) -> None:
    """End the launch, before anything has started, where there is no such recording."""
    bag = LaunchConfiguration("bag").perform(context)
    if not Path(bag).expanduser().exists():
        raise ValueError(f"bag:={bag}: there is no such file or folder")


def player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """The player; when it comes to the end, so does the launch."""
    value = {name: LaunchConfiguration(name).perform(context) for name in ("bag", *ARGUMENTS)}
    switches = [f"--{name}" for name in ("loop", "clock") if value[name].lower() in ("true", "1")]
    options = [f"--rate={value['rate']}", f"--start={value['start']}", "--wait-for-subscribers"]
    return [
        Node(
            package="renderocc_ros",
            executable="player",
            arguments=[value["bag"], *options, *switches],
            output="screen",
            additional_env={"RENDEROCC_LAUNCH_PID": str(os.getpid())},
            on_exit=Shutdown(reason="the recording is over"),
        )
    ]

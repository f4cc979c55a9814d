"""Publish a recording at its own pace, as ros2 bag play does."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import rclpy
import typer
from rclpy.signals import SignalHandlerOptions
from rich.console import Console

from renderocc_ros.progress import JobProgress
from renderocc_ros.tools.player import BagPlayer, PlayOptions, PlayReport


def play(
    bag: Annotated[Path, typer.Argument(help="rosbag2 folder, or a .mcap or .db3 file")],
    rate: Annotated[float, typer.Option(help="2 plays twice as fast")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="start again at the end")] = False,
    clock: Annotated[
        bool, typer.Option("--clock", help="publish the recording's time on /clock")
    ] = False,
    start: Annotated[float, typer.Option(help="skip so many seconds")] = 0.0,
    topics: Annotated[
        list[str] | None,
        typer.Option(help="only these: names or patterns like '/cam_*', repeated or with commas"),
    ] = None,
    wait_for_subscribers: Annotated[
        bool, typer.Option("--wait-for-subscribers", help="begin when somebody listens")
    ] = False,
    wait_for: Annotated[
        list[str] | None, typer.Option(help="topic to begin with only when somebody listens to it")
    ] = None,
) -> None:
    """Publish a recording at its own pace, as ros2 bag play does.

    renderocc play drive --clock --loop

    Latched topics such as /tf_static reach late subscribers. Ctrl-C ends it.
    """
    patterns = tuple(part for each in topics or [] for part in each.split(",") if part)
    options = PlayOptions(
        rate, loop, clock, start, patterns, wait_for_subscribers, tuple(wait_for or ())
    )
    console = Console(stderr=True)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    player = None
    try:
        node = rclpy.create_node("player")
        player = BagPlayer(node, bag, options)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: player.stop())
        for what, count in player.report.skipped.items():
            console.print(f"skipped: {count} messages of {what}", markup=False)
        _play(player, console)
        if player.stopped:
            console.print("stopped")
    finally:
        if player is not None:
            player.close()
            console.print(_summary(player.report))
        rclpy.try_shutdown()


def _play(player: BagPlayer, console: Console) -> None:
    length_s = (player.end_ns - player.start_ns) * 1e-9 + player.options.start_s
    amount = "{task.completed:.1f} of {task.total:.1f} s"
    with JobProgress(console, amount, transient=True) as progress:
        task = progress.add_task("playing", total=length_s)
        player.play(lambda seconds: progress.update(task, completed=seconds))


def _summary(report: PlayReport) -> str:
    lines = [
        f"published {report.published.total()} messages on {len(report.published)} topics",
        f"{report.passes} pass(es) to the end",
        f"latest message {report.latest_s * 1000:.0f} ms behind its time",
    ]
    if report.skipped:
        lines.append(f"skipped {report.skipped.total()}")
    return ", ".join(lines)

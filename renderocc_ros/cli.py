"""The command line ``renderocc``: what runs beside the robot."""

from __future__ import annotations

from renderocc_ros.lazy_commands import lazy_app

app = lazy_app(
    "renderocc_ros.commands",
    "Semantic 3D occupancy from the cameras of a robot.\n\n"
    "Each command explains itself: renderocc COMMAND --help",
)


def main() -> None:
    """Entry point."""
    app(prog_name="renderocc")


if __name__ == "__main__":
    main()

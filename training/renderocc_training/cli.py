"""The command line ``renderocc-train``: from recordings to weights."""

from __future__ import annotations

from renderocc_ros.lazy_commands import lazy_app

app = lazy_app(
    "renderocc_training.commands",
    "From recorded bags to weights that the node loads.\n\n"
    "Each command explains itself: renderocc-train COMMAND --help",
)


def main() -> None:
    """Entry point."""
    app(prog_name="renderocc-train")


if __name__ == "__main__":
    main()

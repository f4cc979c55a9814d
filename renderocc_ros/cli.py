"""The command line ``renderocc``: one program, whatever of it is installed."""

from __future__ import annotations

from renderocc_ros.lazy_commands import lazy_app

# Where commands are looked for. The robot's side runs without the other two, so they are named and
# never imported here.
PACKAGES = ("renderocc_ros", "renderocc_training", "renderocc_simulation")
GROUPS = {
    "Run": ("demo", "play", "doctor", "view", "rviz-config", "export-voxels"),
    "Data": (
        *("simulate", "extract", "nuscenes-to-bag", "labels", "truth", "pack"),
        *("check-truth", "show-truth"),
    ),
    "Train": ("train", "evaluate", "score-labels", "score", "compare", "report", "study"),
    "Models": ("info", "convert", "export", "benchmark"),
}
EXAMPLES = (
    "renderocc demo",
    "renderocc doctor --rig my_rig.yaml",
    "renderocc extract monday --rig my_rig.yaml --out data",
    "renderocc train data --out runs/first",
    "renderocc evaluate model.safetensors tuesday --rig my_rig.yaml --out results",
)

app = lazy_app(
    PACKAGES,
    GROUPS,
    "\n\n".join(
        (
            "Semantic 3D occupancy from the cameras of a robot.",
            *EXAMPLES,
            "Each command explains itself: renderocc COMMAND --help",
        )
    ),
)


def main() -> None:
    """Entry point, of ``renderocc`` too, as these commands were called once."""
    app(prog_name="renderocc")


if __name__ == "__main__":
    main()

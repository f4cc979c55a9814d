"""pip's view of the package: where there is no ROS, for example on a training cluster.

Installs renderocc_ros (whose `node` folder needs ROS and stays out), renderocc_training and the
configuration. In a ROS workspace CMakeLists.txt installs instead.
"""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup

ROOT = Path(__file__).parent
EXTRAS = ("train", "label", "export", "video", "view", "ray", "test")


def requirements(name: str) -> list[str]:
    """The lines of requirements/<name>.txt."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def version() -> str:
    """The version in package.xml, the one place for it."""
    found = re.search("<version>(.+?)</version>", (ROOT / "package.xml").read_text())
    if found is None:
        raise ValueError("package.xml: no <version>")
    return found[1]


def packages(name: str, where: str = ".") -> list[str]:
    """A package and those below it."""
    return find_namespace_packages(
        where, include=[name, f"{name}.*"], exclude=["renderocc_ros.node*", "*.__pycache__"]
    )


setup(
    name="renderocc-ros",
    version=version(),
    description="Semantic 3D occupancy from the cameras of a robot, trained with 2D labels only",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="renderocc_ros maintainers",
    author_email="renderocc_ros@users.noreply.github.com",
    project_urls={"Method": "https://arxiv.org/abs/2309.09502"},
    keywords=["ROS 2", "semantic occupancy", "robotics", "neural rendering", "autonomous driving"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[
        *packages("renderocc_ros"),
        *packages("renderocc_training", "training"),
        *packages("renderocc_simulation", "training"),
        "renderocc_ros.share.config",
        "renderocc_ros.share.msg",
        "renderocc_ros.share.weights",
    ],
    package_dir={
        "renderocc_training": "training/renderocc_training",
        "renderocc_simulation": "training/renderocc_simulation",
        "renderocc_ros.share.config": "config",
        "renderocc_ros.share.msg": "msg",
        "renderocc_ros.share.weights": "weights",
    },
    package_data={
        "renderocc_ros": ["py.typed"],
        "renderocc_training.report": ["*.html", "*.css", "*.js"],
        "renderocc_training": ["py.typed"],
        "renderocc_simulation": ["py.typed"],
        "renderocc_ros.share.config": ["*.yaml", "*.xml", "*/*.yaml"],
        "renderocc_ros.share.msg": ["*.msg"],
        "renderocc_ros.share.weights": ["*.safetensors", "*.md"],
    },
    install_requires=requirements("core"),
    # Ray shares out the work of commands that come with training.
    extras_require={name: requirements(name) for name in EXTRAS}
    | {"ray": requirements("train") + requirements("ray")},
    entry_points={
        "console_scripts": [
            "renderocc = renderocc_ros.cli:main",
            "renderocc-train = renderocc_ros.cli:main",
        ]
    },
    zip_safe=False,
)

"""Semantic 3D occupancy from the cameras of a robot: RenderOcc for ROS 2."""

from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

from renderocc_ros.paths import version

if TYPE_CHECKING:
    from renderocc_ros.occupancy_model import load as load

__version__ = version()

# Where the source tree comes first on sys.path, renderocc_ros.msg is still found elsewhere.
__path__ = extend_path(__path__, __name__)


def __getattr__(name: str) -> Any:
    """``load``, when it is asked for: PyTorch takes seconds that most commands do not need."""
    if name == "load":
        from renderocc_ros.occupancy_model import load

        return load
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

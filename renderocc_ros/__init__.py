"""Semantic 3D occupancy from the cameras of a robot: RenderOcc for ROS 2."""

from pkgutil import extend_path

__version__ = "0.1.0"

# Where the source tree comes first on sys.path, renderocc_ros.msg is still found elsewhere.
__path__ = extend_path(__path__, __name__)

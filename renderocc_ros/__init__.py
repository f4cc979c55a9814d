"""Semantic 3D occupancy from the cameras of a robot: RenderOcc for ROS 2."""

from pkgutil import extend_path

from renderocc_ros.paths import version

__version__ = version()

# Where the source tree comes first on sys.path, renderocc_ros.msg is still found elsewhere.
__path__ = extend_path(__path__, __name__)

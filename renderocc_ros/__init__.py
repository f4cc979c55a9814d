"""Semantic 3D occupancy from the cameras of a robot: RenderOcc for ROS 2."""

__version__ = "0.1.0"

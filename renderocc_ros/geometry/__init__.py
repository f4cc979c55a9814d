"""Frames, cameras and voxel grids: the one place for axis order and for metre to index.

Axes follow REP-103: a body frame is x forward, y left, z up; an optical frame is x right, y down,
z forward. A transform is named ``target_from_source`` and takes points of source to target.
"""

from renderocc_ros.geometry.camera_model import CameraModel
from renderocc_ros.geometry.rigid_transform import RigidTransform
from renderocc_ros.geometry.voxel_grid import VoxelGrid

__all__ = ["CameraModel", "RigidTransform", "VoxelGrid"]

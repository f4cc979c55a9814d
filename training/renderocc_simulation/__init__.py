"""Procedural towns and drives with exact 2D and 3D truth, written as rosbag2."""

"""Voxels and cameras where there is no rviz: in Rerun, or as pictures and films made off screen."""

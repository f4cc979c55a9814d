"""Pictures of voxels and cameras where there is no rviz: PNGs rendered off screen."""

"""What supervises training: 2D labels, rays, votes about voxels, and occupancy truth."""

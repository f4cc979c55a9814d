"""2D labels from LiDAR, boxes, maps and segmentation models, and what they say about voxels."""

"""What training minimises: one small function a loss, each finite on empty and extreme input.

Every loss is a mean over what it is about (rays, voxels, points), so that its weight in a recipe
means the same for every batch size and grid. Masks say what counts; nothing that counts gives 0.
"""

from renderocc_training.losses.rendered import (
    opacity_entropy_loss,
    range_l1_loss,
    scale_invariant_log_loss,
    semantic_loss,
    sky_loss,
)
from renderocc_training.losses.structure import distortion_loss, total_variation_loss
from renderocc_training.losses.voxels import (
    RayQueries,
    depth_distribution_loss,
    image_class_loss,
    occupancy_loss,
    query_loss,
    ray_queries,
    unlabelled_loss,
    voxel_label_loss,
)
from renderocc_training.supervision.class_weights import tempered_class_weights

__all__ = [
    "RayQueries",
    "depth_distribution_loss",
    "distortion_loss",
    "image_class_loss",
    "occupancy_loss",
    "opacity_entropy_loss",
    "query_loss",
    "range_l1_loss",
    "ray_queries",
    "scale_invariant_log_loss",
    "semantic_loss",
    "sky_loss",
    "tempered_class_weights",
    "total_variation_loss",
    "unlabelled_loss",
    "voxel_label_loss",
]

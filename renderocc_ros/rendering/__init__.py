"""From the voxel field to what a ray sees: sample, look up, composite.

Training compares what this renders with 2D labels; the live node publishes it as images that can
be laid beside the camera's own.
"""

from renderocc_ros.rendering.volume_rendering import (
    Rays,
    RenderedRays,
    ray_densities,
    ray_weights,
    render_rays,
    render_rays_plain,
)

__all__ = [
    "Rays",
    "RenderedRays",
    "ray_densities",
    "ray_weights",
    "render_rays",
    "render_rays_plain",
]

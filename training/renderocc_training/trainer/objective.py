"""From a batch to the terms of its loss: the network runs, rays are asked and rendered."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from renderocc_ros.class_set import IGNORE_ID, ClassSet
from renderocc_ros.network.occupancy_field import OccupancyField, opacity
from renderocc_ros.network.official.preset import OfficialRenderOcc, official_density
from renderocc_ros.network.renderocc import Network, RenderOcc
from renderocc_ros.rendering import (
    Rays,
    RenderedRays,
    ray_densities,
    ray_weights,
    render_rays,
)
from renderocc_ros.rendering.ray_sampling import (
    RaySamples,
    keep_where,
    sample_by_weight,
    sample_uniform,
)
from renderocc_training import losses
from renderocc_training.recipe import Recipe
from renderocc_training.rendering.paper_head import PaperScene
from renderocc_training.rendering.paper_head import losses as paper_losses
from renderocc_training.samples.training_sample import RayTensors, TrainingBatch
from renderocc_training.supervision.class_weights import published_counts

LossTerms = dict[str, Tensor]  # weighted scalars by their name in the recipe; summed, minimised


class Opaque:
    """A batch that Fabric hands through: it would take a frozen dataclass apart to cast it."""

    def __init__(self, batch: TrainingBatch) -> None:
        self.batch = batch


class Objective(torch.nn.Module):
    """A network and what is asked of it."""

    def __init__(self, network: Network, class_set: ClassSet, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.class_set = class_set
        self.recipe = recipe
        self.grid = network.grid
        if recipe.losses.image_semantics and not network.config.architecture.depth.class_head:
            raise ValueError(
                f"losses.image_semantics = {recipe.losses.image_semantics:g}, but network "
                f"'{network.config.name}' has no class head: set depth.class_head to true in its "
                "architecture, or the weight to 0"
            )

    def train(self, mode: bool = True) -> Objective:
        """As any module, but for the batch norms of parts that do not learn: what such a part gives
        would change with their statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and module.affine and not module.weight.requires_grad:
                module.eval()
        return self

    def forward(self, opaque: Opaque, generator: torch.Generator) -> LossTerms:
        """Terms of one batch.

        Args:
            opaque: a batch on the network's device.
            generator: on the CPU; draws query points and rendering intervals.
        """
        batch = opaque.batch
        weights = self.recipe.losses
        terms: dict[str, Tensor] = {}
        if weights.image_semantics and isinstance(self.network, RenderOcc):
            field, views = self.network.field_and_views(batch.current, batch.past)
            depth = views.depth
            terms["image_semantics"] = losses.image_class_loss(
                self.network.class_logits(views),
                batch.image_class,
                self._class_weights(batch.image_class),
            )
        else:
            field, depth = self.network.field_and_depth(batch.current, batch.past)
        field = OccupancyField(field.density.float(), field.semantics.float())
        if weights.query or weights.query_semantics:
            queries = self._queries(batch.rays, generator)
            named = torch.where(queries.occupied, queries.class_id, IGNORE_ID)
            terms["query"], terms["query_semantics"] = losses.query_loss(
                field, self.grid, queries, self._class_weights(named)
            )
        for name, labels in (("votes", batch.votes), ("truth", batch.truth)):
            if getattr(weights, name) or getattr(weights, f"{name}_semantics"):
                if labels is None:
                    raise ValueError(f"the recipe's {name} loss needs samples with {name}")
                occupancy, semantics = losses.voxel_label_loss(
                    field,
                    self.grid,
                    labels,
                    self._class_weights(labels),
                    by_rarity=name == "votes" and self.recipe.vote_weights == "tempered",
                )
                terms[name], terms[f"{name}_semantics"] = occupancy, semantics
        if weights.unlabelled and batch.votes is not None:
            terms["unlabelled"] = losses.unlabelled_loss(field, self.grid, batch.votes)
        if weights.render:
            chosen = self._rays_to_render(batch.rays, generator)
            if self.recipe.rays.head == "paper":
                terms |= self._rendered_as_published(field, chosen)
            else:
                terms |= self._rendered(field, chosen, generator)
        if weights.total_variation:
            cells = opacity(field.density, self.grid.resolution_m)
            terms["total_variation"] = losses.total_variation_loss(cells)
        if weights.lifting_depth:
            terms["lifting_depth"] = self._lifting_depth(depth, batch.depth_m)
        used = {name: getattr(weights, name) for name in terms if getattr(weights, name)}
        return {name: weight * terms[name] for name, weight in used.items()}

    def _class_weights(self, class_id: Tensor) -> Tensor | None:
        if self.recipe.class_weights == "none":
            return None
        return losses.tempered_class_weights(class_id, len(self.class_set))

    def _queries(self, rays: RayTensors, generator: torch.Generator) -> losses.RayQueries:
        return losses.ray_queries(
            self.grid,
            rays.rays,
            rays.range_m,
            rays.start_m,
            rays.class_id,
            self.class_set.ground_ids,
            self.recipe.rays.free_points,
            generator,
        )

    def _rendered_as_published(
        self, field: OccupancyField, chosen: RayTensors
    ) -> dict[str, Tensor]:
        """The official head's losses, its own weights included.

        Its density d makes a sample of half a cell opaque by 1 − (1 + exp(d + shift))^−½, ours by
        1 − exp(−σ·½r): d = ln(exp(σ·r) − 1) − shift is the same field in its terms. The official
        network was trained on its own density, whatever that means in ours.
        """
        scene = PaperScene(
            centre_m=(0.0, 0.0, 0.5 * (self.grid.origin_m[2] + self.grid.upper_m[2])),
            radius_m=self.grid.upper_m[0] - 1.0,
            cells=self.grid.size[0],
            extent_m=self.grid.size[0] * self.grid.resolution_m,
            height_m=self.grid.size[2] * self.grid.resolution_m,
        )
        if isinstance(self.network, OfficialRenderOcc):
            density = official_density(field, self.grid.resolution_m)
        else:
            optical_depth = (field.density * self.grid.resolution_m).clamp(min=1e-6)
            density = optical_depth + torch.log(-torch.expm1(-optical_depth)) - scene.shift
        batch, count = chosen.valid.shape
        labelled = chosen.valid & chosen.range_m.isfinite() & (chosen.class_id != IGNORE_ID)
        range_m = torch.where(labelled, chosen.range_m, torch.zeros_like(chosen.range_m))
        class_id = torch.where(labelled, chosen.class_id, torch.zeros_like(chosen.class_id))
        direction = chosen.rays.direction.view(batch, count, 3)
        rays = torch.cat(
            [
                torch.zeros_like(direction[..., :2]),
                range_m[..., None],
                class_id[..., None].to(range_m),
                chosen.rays.origin.view(batch, count, 3),
                direction,
                direction,
            ],
            dim=-1,
        )
        same = torch.eye(3, device=rays.device).expand(batch, 3, 3)
        counts = published_counts(self.class_set) or (1000,) * len(self.class_set)
        terms = paper_losses(density, field.semantics.movedim(1, -1), rays, same, scene, counts)
        return {
            "range_silog": terms["loss_render_depth"],
            "semantics": terms["loss_render_semantic"],
            "opacity_entropy": terms["loss_sdf_entropy"],
            "distortion": terms["loss_sdf_distortion"],
        }

    def _rendered(
        self, field: OccupancyField, chosen: RayTensors, generator: torch.Generator
    ) -> dict[str, Tensor]:
        seen, samples = render_field(field, self.network, chosen.rays, self.recipe, generator)
        shape = chosen.valid.shape
        far_m, range_m = samples.far_m.view(shape), seen.range_m.view(shape)
        opacity_of_ray, classes = seen.opacity.view(shape), seen.classes.view(*shape, -1)
        # A surface before the grid says nothing of it. One beyond it no voxel can show: the ray
        # leaves the grid.
        labelled = chosen.valid & chosen.range_m.isfinite()
        labelled &= (far_m > 0) & (chosen.range_m > samples.near_m.view(shape))
        label_m = torch.minimum(chosen.range_m, far_m)
        inside = labelled & (chosen.range_m < far_m)
        is_sky = chosen.valid & chosen.range_m.isinf()
        by_class = self._class_weights(torch.where(inside, chosen.class_id, IGNORE_ID))
        return {
            "range_silog": losses.scale_invariant_log_loss(range_m, label_m, labelled),
            "range_l1": losses.range_l1_loss(range_m, label_m, labelled),
            "semantics": losses.semantic_loss(classes, chosen.class_id, inside, by_class),
            "sky": losses.sky_loss(opacity_of_ray, is_sky),
            "opacity_entropy": losses.opacity_entropy_loss(opacity_of_ray, chosen.valid),
            "distortion": losses.distortion_loss(seen.weights, samples, chosen.valid),
        }

    def _rays_to_render(self, rays: RayTensors, generator: torch.Generator) -> RayTensors:
        """A random part of each sample's rays; one that moved with its object cannot be seen."""
        batch, budget = rays.valid.shape
        count = min(self.recipe.rays.rendered, budget)
        usable = rays.valid & (rays.start_m == 0)
        chance = torch.rand((batch, budget), generator=generator).to(rays.start_m)
        picked = (chance + usable).topk(count, dim=1).indices
        flat = (picked + torch.arange(batch, device=picked.device)[:, None] * budget).flatten()
        return RayTensors(
            Rays(rays.rays.origin[flat], rays.rays.direction[flat], rays.rays.volume[flat]),
            rays.start_m.gather(1, picked),
            rays.range_m.gather(1, picked),
            rays.class_id.gather(1, picked),
            usable.gather(1, picked),
        )

    def _lifting_depth(self, depth: Tensor, depth_m: Tensor) -> Tensor:
        bins = self.network.config.architecture.depth
        place = ((depth_m - bins.from_m) / bins.step_m).flatten(1)
        distribution = depth.float().movedim(2, -1).flatten(1, 3)
        return losses.depth_distribution_loss(distribution, place, soft=self.recipe.soft_depth)


def render_field(
    field: OccupancyField,
    network: Network,
    rays: Rays,
    recipe: Recipe,
    generator: torch.Generator | None = None,
) -> tuple[RenderedRays, RaySamples]:
    """Render rays through a field as the recipe says.

    Args:
        generator: jitters the intervals, as training wants; none for evaluation.
    """
    step_m = recipe.rays.step_cells * network.grid.resolution_m
    samples = sample_uniform(network.grid, rays.origin, rays.direction, step_m, generator)
    if recipe.rays.sampling == "hierarchical":
        with torch.no_grad():
            coarse = ray_weights(network.grid, field.density, rays, samples, recipe.rays.lookup)
        samples = sample_by_weight(samples, coarse, recipe.rays.fine_intervals, generator)
    if recipe.rays.sampling == "occupied":
        with torch.no_grad():
            near = ray_densities(network.grid, field.density, rays, samples, recipe.rays.lookup)
        solid = opacity(near, network.grid.resolution_m) >= recipe.rays.empty_below
        samples = keep_where(samples, solid)
    probability = field.semantics.softmax(dim=1).movedim(1, -1)
    lookup = recipe.rays.lookup
    threshold = network.config.opacity_threshold if lookup == "nearest" else None
    fields = field.density, probability
    return render_rays(network.grid, *fields, rays, samples, lookup, threshold), samples

"""A recipe: everything that decides how a network is trained, in one strict YAML file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from renderocc_ros.config import StrictModel, config_path, load_yaml

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["auto", "bf16-mixed", "32-true"]

# A cell is called free only after this many misses: one pixel may be mislabelled.
MIN_MISSES = 2
# Share of the votes that hits need: hits are few and exact, misses many and grazing.
MIN_HIT_SHARE = 0.01
# Hits of the ground that one of anything else outweighs: around what stands there is more of it.
OBJECT_WEIGHT = 5.0


class LossWeights(StrictModel):
    """Weight of each loss; 0 leaves it out and costs nothing."""

    query: Weight = Field(0.0, description="free and occupied points of rays, snapped to voxels")
    query_semantics: Weight = Field(0.0, description="class at the ends of rays, in their voxel")
    votes: Weight = Field(0.0, description="voxels that the rays of several frames voted on")
    votes_semantics: Weight = Field(0.0, description="class of the voted voxels")
    unlabelled: Weight = Field(
        0.0,
        description="opacity of voxels without a vote; a little keeps the space free that a LiDAR "
        "never looks at, such as that above its highest ray",
    )
    truth: Weight = Field(0.0, description="3D labels where they are visible")
    truth_semantics: Weight = Field(0.0, description="class of the 3D labels")
    range_silog: Weight = Field(0.0, description="rendered range, scale invariant")
    range_l1: Weight = Field(0.0, description="rendered range, relative error")
    semantics: Weight = Field(0.0, description="rendered class probabilities")
    sky: Weight = Field(0.0, description="opacity of rays to the sky")
    opacity_entropy: Weight = Field(0.0, description="rays that fade instead of ending")
    distortion: Weight = Field(0.0, description="rays that end in several places")
    total_variation: Weight = Field(0.0, description="differences between neighbouring voxels")
    lifting_depth: Weight = Field(0.0, description="depth distribution of the lifting")
    image_semantics: Weight = Field(
        0.0, description="class of each feature pixel; for networks with depth.class_head"
    )

    @property
    def render(self) -> bool:
        """Whether any loss needs rendered rays."""
        rendered = (self.range_silog, self.range_l1, self.semantics, self.sky)
        return any((*rendered, self.opacity_entropy, self.distortion))


class RayConfig(StrictModel):
    """Which rays supervise a sample, and how they are rendered."""

    budget: int = Field(8192, gt=0, description="rays per sample")
    auxiliary_frames: tuple[int, ...] = Field(
        (-3, -2, -1, 1, 2, 3), description="key frames before and after that lend their rays"
    )
    auxiliary_weight: Share = Field(0.3, description="chance of an auxiliary ray to be drawn")
    class_weights: Literal["tempered", "paper", "none"] = Field(
        "tempered", description="how the rarity of its class raises a ray's chance"
    )
    traced: int = Field(
        120_000,
        gt=0,
        description="rays per sample that are followed for the cells that they pass, for votes; "
        "all rays vote for the cells that they end in",
    )
    min_misses: int = Field(MIN_MISSES, gt=0, description="misses that make a cell free")
    min_hit_share: Share = Field(
        MIN_HIT_SHARE,
        description="share of a cell's votes that hits need: low for exact ranges, higher (0.2) "
        "for those of a monocular model",
    )
    object_weight: Positive = Field(
        OBJECT_WEIGHT,
        description="hits of the ground that a hit of anything else counts for in a cell's class",
    )
    free_points: int = Field(16, gt=0, description="points queried before the end of each ray")
    rendered: int = Field(2048, gt=0, description="rays per sample that are rendered")
    step_cells: Positive = Field(0.5, description="length of a rendering step, in cells")
    sampling: Literal["uniform", "hierarchical", "occupied"] = Field(
        "uniform",
        description="steps of one length; or fine ones placed where a first pass with such steps "
        "found density; or steps of one length in cells that are not empty (give free space then "
        "to queries or votes: what is skipped learns nothing)",
    )
    empty_below: Share = Field(
        0.01, description="opacity under which a cell is empty, for occupied sampling"
    )
    fine_intervals: int = Field(64, gt=0, description="per ray, for hierarchical sampling")
    head: Literal["metric", "paper"] = Field(
        "metric",
        description="how rays are rendered: metric ranges through the whole grid, or the "
        "official contraction, depth and composited logits (with range_silog, semantics, "
        "opacity_entropy and distortion alone)",
    )
    lookup: Literal["nearest", "trilinear"] = Field(
        "nearest", description="value of a point between cell centres"
    )

    @model_validator(mode="after")
    def _frames_differ(self) -> RayConfig:
        if 0 in self.auxiliary_frames or len(set(self.auxiliary_frames)) < len(
            self.auxiliary_frames
        ):
            raise ValueError(
                f"auxiliary_frames = {list(self.auxiliary_frames)} must differ and leave out 0, "
                "which is the sample's own frame"
            )
        return self


class OptimiserConfig(StrictModel):
    """AdamW, cosine schedule, averaged weights."""

    learning_rate: Positive = 4e-4
    weight_decay: Weight = 1e-2
    warmup_steps: int = Field(100, ge=0)
    final_share: Share = Field(0.02, description="of the learning rate that is left at the end")
    clip_norm: Positive = Field(10.0, description="gradients are scaled down to this norm")
    ema_decay: Share = Field(0.999, description="of the averaged weights, which are what is saved")
    rates: dict[str, Share] = Field(
        {},
        description="share of the learning rate that parts of the network get, by the beginning of "
        "their weights' names, of which the longest counts; 0 leaves a part as it is. "
        "image_backbone.backbone: 0.1 tunes a pretrained backbone gently",
    )


class Recipe(StrictModel):
    """How a network is trained."""

    name: str = Field(min_length=1)
    steps: int = Field(gt=0, description="optimiser steps")
    batch_size: int = Field(4, gt=0, description="samples per step and process")
    accumulate: int = Field(1, gt=0, description="batches whose gradients make one step")
    precision: Precision = Field(
        "auto",
        description="of the arithmetic; auto measures at the start which parts of the network are "
        "faster in 32 bits than in bf16; 32-true on a CPU that has none for bf16",
    )
    seed: int = Field(0, ge=0)
    mirror: Share = Field(0.5, description="part of the samples whose left and right are swapped")
    recolour: Share = Field(
        0.0, description="how much light, exposure and colours of the images vary; 0.3 is ample"
    )
    retake: Share = Field(
        0.0,
        description="part of the samples that are changed as if other cameras had taken them: "
        "tone, colours, blur, noise, JPEG, vignette; strong, and for pretrained backbones",
    )
    class_weights: Literal["none", "tempered"] = Field(
        "none", description="how the rarity of a class in a sample weighs in the semantic losses"
    )
    vote_weights: Literal["none", "tempered"] = Field(
        "none",
        description="how the rarity of a class in a sample, free among them, weighs in whether the "
        "voted voxels are occupied",
    )
    soft_depth: bool = Field(
        False,
        description="lifting_depth asks for the two bins whose middles the label lies between, "
        "each by how near it is, instead of the one that it lies in",
    )
    drop_camera: Share = Field(0.0, description="chance that a camera is masked in a sample")
    rays: RayConfig = RayConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    losses: LossWeights

    @model_validator(mode="after")
    def _something_to_learn(self) -> Recipe:
        if not any(self.losses.model_dump().values()):
            raise ValueError("losses: every weight is 0; there is nothing to learn")
        if self.rays.head == "paper" and (self.losses.range_l1 or self.losses.sky):
            raise ValueError("rays.head = 'paper' has neither range_l1 nor sky: set both to 0")
        return self


def load_recipe(name: str) -> Recipe:
    """A recipe by the name of a shipped one ("default", "paper", "debug") or by path."""
    return load_yaml(config_path("recipes", name), Recipe)

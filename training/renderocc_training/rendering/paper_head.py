"""The official rendering head, faithful to the code that trained the published weights.

(RenderOcc, arXiv 2309.09502, section III-C; sampling and compositing after DVGO, arXiv 2111.11215.)
It is there for comparison: rendered depth is not metric, the contraction cuts the corners of the
grid, logits are composited. The default recipe corrects all that.

Notation: R rays, S samples along each, K classes, P samples that survive a filter; t is the
distance along a ray in units of the scene's radius, s = 1 - 1/(1+t).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from renderocc_training.supervision.class_weights import CLASS_COUNTS

MAX_LABEL_RANGE_M = 52.0  # labels behind it do not count
NEGLIGIBLE = 1e-7  # alphas and weights up to it are left out
OPAQUE = 1e-3  # a ray ends where less than this is transmitted
TINY = 1e-7


@dataclass(frozen=True)
class PaperScene:
    """The official constants of the scene; they fit a grid of 80 x 80 x 6.4 m in 0.4 m cells.

    Attributes:
        centre_m, radius_m: the sphere inside which space is not contracted.
        cells: cells along x; sets the number of samples.
        step_cells: distance of the samples.
        extent_m, height_m: edge lengths of the grid in x and z.
        initial_alpha: opacity of a sample of density 0.
        interval: exponent of the opacity.
    """

    centre_m: tuple[float, float, float] = (0.0, 0.0, 2.2)
    radius_m: float = 39.0
    cells: int = 200
    step_cells: float = 0.5
    extent_m: float = 80.0
    height_m: float = 6.4
    initial_alpha: float = 1e-6
    interval: float = 0.5

    @property
    def margin(self) -> float:
        """Thickness of the shell that holds everything outside the sphere, in radii."""
        return (self.extent_m // 2 - self.radius_m) / self.radius_m

    @property
    def half_size(self) -> tuple[float, float, float]:
        """Half the volume's box in radii; z is off by 2.6 %, as in the official code."""
        side = 1.0 + self.margin
        return side, side, self.height_m / self.extent_m

    @property
    def shift(self) -> float:
        """Added to the density before the opacity's softplus-like curve."""
        return float(torch.tensor(1 / (1 - self.initial_alpha) - 1, dtype=torch.float64).log())

    @property
    def least_step(self) -> float:
        """Samples in the shell closer together than this are left out."""
        return (2 + 2 * self.margin) / self.cells * self.step_cells * 0.95


@dataclass(frozen=True)
class ScenePoints:
    """Sample points of R rays.

    Attributes:
        t: (S,).
        points: (R, S, 3) in the contracted, augmented volume, radii.
        inside: (R, S) within the sphere.
        kept: (R, S) not left out.
    """

    t: Tensor
    points: Tensor
    inside: Tensor
    kept: Tensor


@dataclass(frozen=True)
class PaperRender:
    """What R rays see.

    Attributes:
        depth_m: (R,) official depth, radius · sum of weight · s; not metric.
        semantics: (R, K) sum of weight · logits.
        transmittance: (R,) what is left at the end of the ray.
        weights: (R, S) with 0 for the samples left out; ``used`` (R, S) those left in.
        alpha: (R, S) opacity of the kept samples.
        samples: where they lie.
    """

    depth_m: Tensor
    semantics: Tensor
    transmittance: Tensor
    weights: Tensor
    used: Tensor
    alpha: Tensor
    samples: ScenePoints


def sample_rays(origin: Tensor, direction: Tensor, bda: Tensor, scene: PaperScene) -> ScenePoints:
    """Samples evenly inside the sphere, then by inverse distance, contracted into a shell.

    Args:
        origin, direction: (R, 3) ego frame, metres; directions of any length.
        bda: (3, 3) augmentation of the volume; the rays are not augmented.
    """
    inner = int(2 / (2 + 2 * scene.margin) * scene.cells / scene.step_cells) + 1
    near = torch.linspace(0, 2, inner + 1)
    far = 2 / torch.linspace(1, 1 / 64, inner // 15 + 1)
    t = torch.cat([(edges[1:] + edges[:-1]) * 0.5 for edges in (near, far)]).to(origin)
    start = (origin - origin.new_tensor(scene.centre_m)) / scene.radius_m
    unit = direction / direction.norm(dim=-1, keepdim=True)
    points = start[:, None] + unit[:, None] * t[:, None]
    distance = points.norm(dim=-1, keepdim=True)
    inside = (distance <= 1)[..., 0]
    shell = points / distance * ((1 + scene.margin) - scene.margin / distance)
    points = torch.where(inside[..., None], points, shell)
    points = (bda @ points[..., None])[..., 0]
    kept = inside.clone()
    kept[:, 1:] |= far_enough((points[:, 1:] - points[:, :-1]).norm(dim=-1), scene.least_step)
    return ScenePoints(t, points, inside, kept)


def far_enough(steps: Tensor, least: float) -> Tensor:
    """(R, S) bool: where the steps summed since the last such place exceed ``least``."""
    over = torch.empty_like(steps, dtype=torch.bool)
    travelled = torch.zeros_like(steps[:, 0])
    for i in range(steps.shape[1]):
        travelled = travelled + steps[:, i]
        over[:, i] = travelled > least
        travelled = torch.where(over[:, i], 0.0, travelled)
    return over


def look_up(volume: Tensor, points: Tensor, scene: PaperScene) -> Tensor:
    """(C, X, Y, Z) at points (P, 3) -> (P, C), trilinear between cell centres, 0 outside."""
    half = points.new_tensor(scene.half_size)
    at = ((points + half) / (2 * half)).flip(-1) * 2 - 1
    values = F.grid_sample(volume[None], at[None, None, None], align_corners=True)
    return values.reshape(len(volume), -1).T


def opacity(density: Tensor, scene: PaperScene) -> Tensor:
    """1 - (1 + exp(density + shift)) ** -interval."""
    shifted = (density + scene.shift).clamp(max=80.0)  # exp stays finite in float32
    return 1 - (1 + shifted.exp()) ** -scene.interval


def composite(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (R, S) and what is transmitted (R,), ended where almost nothing is.

    Args:
        alpha: (R, S), 0 for samples left out.
    """
    through = (1 - alpha).clamp(min=1e-10).cumprod(dim=1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], dim=1)
    reached = before >= OPAQUE
    last = reached.sum(dim=1, keepdim=True) - 1
    return torch.where(reached, before * alpha, 0.0), through.gather(1, last)[:, 0]


def render(
    origin: Tensor,
    direction: Tensor,
    density: Tensor,
    semantics: Tensor,
    bda: Tensor,
    scene: PaperScene,
) -> PaperRender:
    """Depth and class logits of R rays.

    Args:
        origin, direction: (R, 3) ego frame, metres.
        density: (X, Y, Z); semantics: (X, Y, Z, K) logits.
        bda: (3, 3).
    """
    samples = sample_rays(origin, direction, bda, scene)
    values = look_up(density[None], samples.points[samples.kept], scene)[:, 0]
    dense = values.new_zeros(samples.kept.shape)
    alpha = dense.masked_scatter(samples.kept, opacity(values, scene))
    visible = torch.where(alpha > NEGLIGIBLE, alpha, 0.0)
    weights, transmittance = composite(visible)
    used = weights > NEGLIGIBLE
    weights = torch.where(used, weights, 0.0)
    s = 1 - 1 / (1 + samples.t)
    depth_m = ((weights * s).sum(dim=1) + TINY) * scene.radius_m
    logits = look_up(semantics.permute(3, 0, 1, 2), samples.points[used], scene)
    ray = used.nonzero()[:, 0]
    seen = logits.new_zeros(len(origin), logits.shape[1])
    seen = seen.index_add(0, ray, weights[used][:, None] * logits)
    return PaperRender(depth_m, seen, transmittance, weights, used, alpha, samples)


def silog_loss(rendered_m: Tensor, label_m: Tensor) -> Tensor:
    """Scale-invariant logarithmic error (Eigen et al., arXiv 1406.2283, with a root)."""
    d = (rendered_m + TINY).log() - label_m.log()
    return (d.square().mean() - 0.85 * d.mean().square()).sqrt()


def distortion_loss(view: PaperRender) -> Tensor:
    """Distortion of mip-NeRF 360 (arXiv 2111.12077, eq. 15) in the O(S) form of DVGO v2.

    The official interval is one over the number of samples of *all* rays, and the sum is divided
    by the number of the last ray that has a sample.
    """
    w, s = view.weights, 1 - 1 / (1 + view.samples.t)
    before, before_s = w.cumsum(dim=1) - w, (w * s).cumsum(dim=1) - w * s
    pairs = 2 * w * (s * before - before_s)
    count = view.used.sum()
    rays = view.used.any(dim=1).nonzero()
    if len(rays) == 0:
        return w.sum()
    return (pairs.sum() + w.square().sum() / 3 / count) / (rays[-1, 0] + 1)


def losses(
    density: Tensor,
    semantics: Tensor,
    rays: Tensor,
    bda: Tensor,
    scene: PaperScene | None = None,
    class_counts: Sequence[int] = CLASS_COUNTS,
) -> dict[str, Tensor]:
    """The four official losses, weighted, averaged over the batch.

    Args:
        density: (B, X, Y, Z); semantics: (B, X, Y, Z, K).
        rays: (B, R, 13): u, v, depth, class, origin (3), direction (3), unit direction (3). Rays
            without depth or behind ``MAX_LABEL_RANGE_M`` do not count.
        bda: (B, 3, 3).
    """
    scene = scene or PaperScene()
    totals: dict[str, Tensor] = {}
    for b in range(len(rays)):
        one = rays[b][(rays[b, :, 2] > 0) & (rays[b, :, 2] <= MAX_LABEL_RANGE_M)]
        view = render(one[:, 4:7], one[:, 7:10], density[b], semantics[b], bda[b], scene)
        for name, value in view_losses(view, one, class_counts).items():
            totals[name] = totals.get(name, 0) + value / len(rays)
    return totals


def view_losses(
    view: PaperRender, rays: Tensor, class_counts: Sequence[int] = CLASS_COUNTS
) -> dict[str, Tensor]:
    """The losses of one sample's counting rays (R, 13), named as in the official log."""
    frequency = torch.tensor(class_counts, dtype=torch.float64)
    weight = (1 / (frequency + 0.001).log()).to(view.semantics)
    rest = view.transmittance.clamp(1e-6, 1 - 1e-6)
    entropy = -(rest * rest.log() + (1 - rest) * (1 - rest).log()).mean()
    return {
        "loss_render_depth": silog_loss(view.depth_m, rays[:, 2]),
        "loss_render_semantic": F.cross_entropy(view.semantics, rays[:, 3].long(), weight),
        "loss_sdf_entropy": 0.01 * entropy,
        "loss_sdf_distortion": 0.01 * distortion_loss(view),
    }

"""What it costs to match each query's mask with each target's: matrix products over pixels or over common points."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import compute_dtype, no_autocast, to_compute
from ..geometry import random_points, sample_points
from ..types import Targets

MaskCost = Literal["bce", "focal"]
SMOOTH = 1.0


class MaskPlaces(NamedTuple):
    """Masks of queries and of targets at K common places of an image."""

    logits: Tensor
    """``(..., B, Q, K)``, 0 where a place does not count."""
    masks: Tensor
    """``(..., B, M, K)``, 0 or 1, between them at a point on an outline; 0 where a place does not count."""
    counts: Tensor
    """``(..., B, K)``, 1 where a place belongs to the image, 0 in its padding."""


def read_masks(
    caller: str, masks: Tensor | None, targets: Targets, queries: torch.Size, points: int | None
) -> MaskPlaces:
    """Masks ``(..., B, Q, h, w)`` beside those of the targets, upsampled to their size or at random points."""
    if masks is None or targets.masks is None:
        missing = "masks" if masks is None else "targets with masks"
        raise ValueError(f"{caller}: expected {missing}, since mask_weight or dice_weight is not 0")
    if masks.ndim < 4 or masks.shape[:-2] != queries:
        raise ValueError(f"{caller}: expected masks of shape {(*queries, 'h', 'w')}, got {tuple(masks.shape)}")
    logits, dtype = to_compute(masks.detach()), compute_dtype(masks)
    pixels = targets.pixels
    if points is None:
        size = targets.masks.shape[-2:]
        large = F.interpolate(logits.flatten(0, -4), size=size, mode="bilinear", align_corners=False)
        places = large.reshape(*masks.shape[:-2], -1)
        actual = targets.masks.flatten(2).to(dtype)
        counts = torch.ones_like(actual[:, 0]) if pixels is None else pixels.flatten(1).to(dtype)
    else:
        # One draw for all masks of an image, so that they can be compared; another one in each layer.
        where = random_points((*masks.shape[:-3], 1, points), device=masks.device).to(dtype)
        places, actual = sample_points(logits, where), sample_points(targets.masks, where).to(dtype)
        counts = torch.ones_like(places[..., 0, :])
        if pixels is not None:
            counts = sample_points(pixels, where.squeeze(-3), mode="nearest").to(dtype)
    there = counts.unsqueeze(-2) > 0
    return MaskPlaces(torch.where(there, places, 0.0), torch.where(there, actual, 0.0), counts)


def mask_cost(places: MaskPlaces, kind: MaskCost, *, alpha: float, gamma: float) -> Tensor:
    """``(..., B, M, Q)`` binary cross entropy or focal loss, the mean over the places.

    A place costs n(x) where the target is not, and p(x) where it is: Σ n + Σ t (p - n), a sum and one product.
    """
    x, counts = places.logits, places.counts.unsqueeze(-2)
    positive, negative = F.softplus(-x), F.softplus(x)
    if kind == "focal":
        probability = x.sigmoid()
        positive = alpha * (1 - probability) ** gamma * positive
        negative = (1 - alpha) * probability**gamma * negative
    positive, negative = positive * counts, negative * counts
    with no_autocast(x):
        of_targets = places.masks @ (positive - negative).transpose(-1, -2)
    total = places.counts.sum(-1).clamp(min=1)
    return (negative.sum(-1).unsqueeze(-2) + of_targets) / total[..., None, None]


def dice_cost(places: MaskPlaces) -> Tensor:
    """``(..., B, M, Q)`` Dice loss, smoothed by 1 as the published costs are."""
    probability = places.logits.sigmoid() * places.counts.unsqueeze(-2)
    with no_autocast(probability):
        overlap = places.masks @ probability.transpose(-1, -2)
    sizes = places.masks.sum(-1).unsqueeze(-1) + probability.sum(-1).unsqueeze(-2)
    return 1 - (2 * overlap + SMOOTH) / (sizes + SMOOTH)

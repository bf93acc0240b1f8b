"""Cross entropy and Dice of masks at points, drawn for each row where its logits are least sure."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.sampling import corner_cells, random_points, read_cells, sample_points, uncertain_points
from ._mask_targets import SMOOTH, MaskTargets

OVERSAMPLE, IMPORTANCE = 3, 0.75
"""Points drawn for each that is used, and the share of those that are chosen for their uncertainty."""


def point_losses(
    logits: Tensor, targets: MaskTargets, reach: Tensor | None, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Binary cross entropy, the mean over the points, and Dice loss ``(R,)`` of float logits ``(R, h, w)``.

    ``reach (B, h, w)`` are the cells that count, where there are pixels that do not.
    """
    own = torch.arange(len(logits), device=logits.device)
    points = _draw(logits, own, targets, reach, count, generator)
    actual, counts = _read(targets.masks, targets.target, targets.pixels, targets.image, points)
    logits, _ = _read(logits, own, reach, targets.image, points)
    actual = actual.to(logits.dtype)
    entropy, probs = F.binary_cross_entropy_with_logits(logits, actual, reduction="none"), logits.sigmoid()
    number: Tensor | int = count
    if counts is not None:  # a point in the padding: only where the pixels that count are no rectangle
        entropy, probs, actual = (torch.where(counts, values, 0.0) for values in (entropy, probs, actual))
        number = counts.sum(1).clamp(min=1)
    ratio = (2 * (probs * actual).sum(1) + SMOOTH) / (probs.sum(1) + actual.sum(1) + SMOOTH)
    return entropy.sum(1) / number, 1 - ratio


@torch.no_grad()
def _draw(
    logits: Tensor,
    own: Tensor,
    targets: MaskTargets,
    reach: Tensor | None,
    count: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Points ``(R, count, 2)``: of many at random the least sure ones, and some more at random."""
    area = None if targets.pixels is None else areas(targets.pixels)[targets.image]
    chosen = int(IMPORTANCE * count)
    shape = len(logits), OVERSAMPLE * count + count - chosen
    drawn = random_points(shape, area=area, generator=generator, device=logits.device)
    candidates, others = torch.split(drawn, [OVERSAMPLE * count, count - chosen], dim=1)
    values, _ = _read(logits, own, reach, targets.image, candidates)
    return torch.cat([uncertain_points(candidates, values, chosen), others], dim=1)


def _read(
    maps: Tensor, which: Tensor, valid: Tensor | None, image: Tensor, points: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Values at points, made of the cells that count alone, and at which points there are any.

    Up to its last pixel an image does not look at the padding beside it: the shares of the other cells are rescaled.
    """
    if valid is None:
        return sample_points(maps, points, which=which), None
    dtype = maps.dtype if maps.is_floating_point() else points.dtype
    value = total = torch.zeros((), dtype=dtype, device=maps.device)
    for cells, shares in corner_cells(points, maps.shape[-2:]):
        shares = torch.where(read_cells(valid, image, cells), shares, 0.0)
        value = value + shares * torch.where(shares > 0, read_cells(maps, which, cells).to(dtype), 0.0)
        total = total + shares
    there = total > 0
    return value / torch.where(there, total, 1.0), there


def areas(pixels: Tensor) -> Tensor:
    """Boxes ``(B, 4)`` xyxy, as fractions, around the pixels ``(B, H, W)`` that count; everything where none does."""
    sides = []
    for along in (1, 2):  # over the rows, then over the columns
        used = pixels.any(along).float()
        low = used.argmax(1)
        high = used.shape[1] - used.flip(1).argmax(1)
        sides.append(torch.stack([low, high], 1) / used.shape[1])
    return torch.stack(sides, 2).flatten(1)

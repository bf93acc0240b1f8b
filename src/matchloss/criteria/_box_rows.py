"""The predictions whose boxes are compared with targets, and the losses of their boxes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .._core import use_fast_path
from ..geometry import Points
from ..losses import BalancedL1Loss, L1Loss, L2Loss, SmoothL1Loss, distribution_focal_loss
from ._box_head import BoxHead, distances_to_sides, iou

COORDINATE_LOSSES = (L1Loss, L2Loss, SmoothL1Loss, BalancedL1Loss)
"""Losses of four numbers one by one; every other box loss takes boxes."""


class BoxRows(NamedTuple):
    """Predictions beside their targets, R rows."""

    sides: Tensor
    """``(R, 4 * bins)`` as the model gives them, 0 for a negative."""
    boxes: Tensor
    """``(R, 4)`` xyxy in pixels, or ``(R, 5)`` rotated."""
    target_boxes: Tensor
    points: Tensor
    """``(R, 2)``."""
    strides: Tensor
    """``(R, 1)``."""
    positive: Tensor
    """``(R,)``; the row of a negative counts for nothing."""
    weights: Tensor
    """``(R,)``."""


def rows_to_compare(positive: Tensor) -> Tensor:
    """Flat indices of the predictions whose boxes are compared: the positives, where they can be counted for nothing.

    On a GPU the count would stall the host, and under a compiler its shape would depend on data: there, and in the
    specification, all rows are compared and the negatives masked.
    """
    positive = positive.flatten()
    if _can_count(positive):
        return positive.nonzero().squeeze(1)
    return torch.arange(positive.numel(), device=positive.device)


def index_to_compare(positive: Tensor) -> Tensor | slice:
    """The same to index with; all rows as a slice, since a gather would copy them, and sort for its gradient."""
    return rows_to_compare(positive) if _can_count(positive) else slice(None)


def _can_count(positive: Tensor) -> bool:
    return positive.device.type == "cpu" and use_fast_path()


def take_rows(head: BoxHead, points: Points, positive: Tensor, target_boxes: Tensor, weights: Tensor) -> BoxRows:
    """Decode the boxes to compare; only these have a gradient."""
    batch, rows = len(head.sides), index_to_compare(positive)
    positive = positive.flatten()[rows]
    # A negative's distances may be anything, inf too, where all rows are taken.
    sides = torch.where(positive[:, None], head.sides.flatten(0, 1)[rows], 0.0)
    angles = None if head.angles is None else torch.where(positive, head.angles.flatten()[rows], 0.0)
    centers, strides = points.centers.repeat(batch, 1)[rows], points.strides.repeat(batch)[rows][:, None]
    return BoxRows(
        sides,
        BoxHead(sides, angles).boxes(centers, strides),
        target_boxes.flatten(0, 1)[rows],
        centers,
        strides,
        positive,
        weights.flatten()[rows],
    )


def compare(module: nn.Module, rows: BoxRows) -> Tensor:
    """Weighted sum of a box loss; coordinates are measured in cells and summed over the four of a box."""
    if not isinstance(module, COORDINATE_LOSSES):
        loss: Tensor = module(rows.boxes, rows.target_boxes, mask=rows.positive)
        return (loss * rows.weights).sum()
    elements: Tensor = module(rows.boxes / rows.strides, rows.target_boxes / rows.strides, mask=rows.positive[:, None])
    return (elements.sum(-1) * rows.weights).sum()


def compare_distributions(rows: BoxRows) -> Tensor:
    """Weighted sum of DFL, the mean of the four sides; a target past the last bin counts as just before it."""
    bins = rows.sides.shape[-1] // 4
    wanted = distances_to_sides(rows.points, rows.target_boxes) / rows.strides
    loss = distribution_focal_loss(
        rows.sides.reshape(-1, 4, bins),
        wanted.clamp(0, bins - 1.01),
        mask=rows.positive[:, None],
        reduction="none",
    )
    return (loss.mean(-1) * rows.weights).sum()


@torch.no_grad()
def mean_iou(rows: BoxRows) -> Tensor:
    """Mean IoU of the positives, 0 without any."""
    overlap = torch.where(rows.positive, iou(rows.boxes, rows.target_boxes), 0.0)
    return overlap.sum() / rows.positive.sum().clamp(min=1)

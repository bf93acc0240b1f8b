"""The predictions whose boxes are compared with targets, and the losses of their boxes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .._core import use_fast_path
from ..geometry import Points, box_iou, boxes_from_distances, distances_from_boxes, expected_distances
from ..losses import BalancedL1Loss, L1Loss, L2Loss, SmoothL1Loss, distribution_focal_loss

COORDINATE_LOSSES = (L1Loss, L2Loss, SmoothL1Loss, BalancedL1Loss)
"""Losses of four numbers one by one; every other box loss takes boxes."""


class BoxRows(NamedTuple):
    """Predictions beside their targets, R rows."""

    sides: Tensor
    """``(R, 4 * bins)`` as the model gives them, 0 for a negative."""
    boxes: Tensor
    """``(R, 4)`` xyxy in pixels."""
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
    if positive.device.type == "cpu" and use_fast_path():
        return positive.nonzero().squeeze(1)
    return torch.arange(positive.numel(), device=positive.device)


def take_rows(sides: Tensor, points: Points, positive: Tensor, target_boxes: Tensor, weights: Tensor) -> BoxRows:
    """Decode the boxes to compare; only these have a gradient."""
    batch, rows = len(sides), rows_to_compare(positive)
    positive = positive.flatten()[rows]
    # A negative's distances may be anything, inf too, where all rows are taken.
    sides = torch.where(positive[:, None], sides.flatten(0, 1)[rows], 0.0)
    centers, strides = points.centers.repeat(batch, 1)[rows], points.strides.repeat(batch)[rows][:, None]
    return BoxRows(
        sides,
        boxes_from_distances(centers, expected_distances(sides) * strides),
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
    wanted = distances_from_boxes(rows.points, rows.target_boxes) / rows.strides
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
    iou = torch.where(rows.positive, box_iou(rows.boxes, rows.target_boxes), 0.0)
    return iou.sum() / rows.positive.sum().clamp(min=1)

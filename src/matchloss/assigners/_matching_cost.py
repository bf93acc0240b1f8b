"""What it costs to match each query with each target of its image; target-major, as the solver reads it."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry import (
    box_giou,
    cxcywh_to_xyxy,
    gaussian_kl_divergence,
    hellinger_distance,
    rotated_box_iou,
)
from ..geometry.rotated_targets import angles_apart, rotated_to_pixels
from ._queries import Queries

ClassCost = Literal["softmax", "focal"]
RotatedCost = Literal["probiou", "kld", "iou"]


def class_cost(queries: Queries, kind: ClassCost, *, alpha: float, gamma: float) -> Tensor:
    """``(..., B, M, Q)`` from the logit, or the probability, of each target's class."""
    if kind == "softmax":
        return -_of_labels(queries.logits.softmax(-1), queries.labels)
    return focal_cost(_of_labels(queries.logits, queries.labels), alpha=alpha, gamma=gamma)


def focal_cost(logits: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Focal loss of a logit as a positive, less that as a negative: what the other choice would have cost."""
    probability = logits.sigmoid()
    positive = -alpha * (1 - probability) ** gamma * F.logsigmoid(logits)
    negative = -(1 - alpha) * probability**gamma * F.logsigmoid(-logits)
    return positive - negative


def l1_cost(queries: Queries) -> Tensor:
    """``(..., B, M, Q)`` sum over the four coordinates, one after the other: no tensor four times as large.

    Of rotated boxes the angle is the fifth, in turns by half, which is at most 1/2.
    """
    boxes, targets = queries.boxes.unsqueeze(-3), queries.target_boxes.unsqueeze(-2)
    columns = list(zip(boxes.unbind(-1), targets.unbind(-1), strict=True))
    first, *others = ((box - target).abs() for box, target in columns[:4])
    for distance in others:
        first = first + distance
    for angle, target_angle in columns[4:]:
        first = first + angles_apart(angle, target_angle) / torch.pi
    return first


def giou_cost(queries: Queries) -> Tensor:
    """``(..., B, M, Q)`` minus the GIoU; a query's inverted box counts as empty."""
    boxes = cxcywh_to_xyxy(queries.boxes).unsqueeze(-3)
    return -box_giou(boxes, cxcywh_to_xyxy(queries.target_boxes).unsqueeze(-2))


def rotated_cost(queries: Queries, kind: RotatedCost) -> Tensor:
    """``(..., B, M, Q)`` minus an overlap of rotated boxes in pixels, in [-1, 0]; inf for a box that is not finite."""
    assert queries.image_size is not None
    boxes = rotated_to_pixels(queries.boxes, queries.image_size).unsqueeze(-3)
    targets = rotated_to_pixels(queries.target_boxes, queries.image_size).unsqueeze(-2)
    if kind == "iou":
        cost = -rotated_box_iou(boxes, targets)
    elif kind == "probiou":
        cost = hellinger_distance(boxes, targets) - 1
    else:
        cost = -1 / (1 + gaussian_kl_divergence(boxes, targets).log1p())
    return torch.where(boxes.isfinite().all(-1), cost, torch.inf)


def _of_labels(values: Tensor, labels: Tensor) -> Tensor:
    """Of values ``(..., B, Q, C)`` those of each target's class, ``(..., B, M, Q)``."""
    by_class = values.transpose(-1, -2)
    index = labels.unsqueeze(-1).expand(*by_class.shape[:-2], labels.shape[-1], by_class.shape[-1])
    return torch.gather(by_class, -2, index)

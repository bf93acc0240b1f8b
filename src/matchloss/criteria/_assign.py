"""One call for the assigners that look at predictions and for those that look at anchors."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..assigners import ATSSAssigner, MaxIoUAssigner
from ..geometry import Points
from ..types import Assignment, Targets

SQUARE = 8.0
"""Side, in strides, of the square that stands for a point where an assigner wants anchors; ATSS's own choice."""


def assign(
    assigner: Callable[..., Assignment], scores: Tensor, boxes: Tensor, points: Points, targets: Targets
) -> Assignment:
    """Match the predictions of points, of probabilities ``(B, A, C)`` and boxes ``(B, A, 4)``, with targets."""
    if isinstance(assigner, ATSSAssigner | MaxIoUAssigner):
        half = points.strides[:, None] * (SQUARE / 2)
        anchors = torch.cat([points.centers - half, points.centers + half], dim=-1)
        return assign_anchors(assigner, anchors, points.counts, targets)
    return assigner(scores, boxes, points.centers, targets, strides=points.strides)


def assign_anchors(
    assigner: Callable[..., Assignment], anchors: Tensor, counts: Sequence[int], targets: Targets
) -> Assignment:
    """Match anchors ``(A, 4)``, so many a level, with targets."""
    if isinstance(assigner, ATSSAssigner):
        return assigner(anchors, counts, targets)
    return assigner(anchors, targets)

"""Which points a target may have in :class:`SimOTAAssigner`, and what each costs."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry import box_iou, inside_boxes, pairwise
from ._scene import Scene

MOST = 100.0
"""Of a logarithm, as in torch's binary cross entropy: a probability of 0 is not infinitely wrong."""


class Nearness(NamedTuple):
    """Where points lie, seen from some targets."""

    in_center: Tensor
    """``(B, m, A)``: within so many strides of the target's centre, on both axes."""
    in_box: Tensor
    """``(B, m, A)``: inside the target."""


def nearness(scene: Scene, rows: slice, radius: float) -> Nearness:
    """Look at the points from a few targets."""
    assert scene.strides is not None
    boxes = scene.targets.boxes[:, rows, None]
    points = scene.points[:, None]
    away = (points - (boxes[..., :2] / 2 + boxes[..., 2:] / 2)).abs()
    in_center = torch.maximum(away[..., 0], away[..., 1]) < radius * scene.strides[:, None]
    real = scene.targets.matchable[:, rows, None]
    return Nearness(in_center & real, inside_boxes(points, boxes) & real)


def background_costs(scores: Tensor) -> Tensor:
    """Cross entropy of the probabilities ``(*, C)`` with no class at all: ``-log(1 - p)``, summed over the classes."""
    return -(1 - scores).log_().clamp_(min=-MOST).sum(-1)


def class_costs(scene: Scene, background: Tensor, rows: slice) -> Tensor:
    """``(B, m, A)``: cross entropy of the probabilities with the target's class, summed over the classes.

    Args:
        scene: the batch.
        background: (B, A) the cross entropy with no class at all.
        rows: which targets.
    """
    labels = scene.targets.labels[:, rows, None].expand(-1, -1, scene.scores.shape[1])
    of_class = scene.scores.transpose(1, 2).gather(1, labels)
    # Of all classes but one a pair's cost is that of the background: nothing over (targets, points, classes) is made.
    return background[:, None] + rounded_log(1 - of_class).clamp(min=-MOST) - rounded_log(of_class).clamp(min=-MOST)


def rounded_log(values: Tensor) -> Tensor:
    """Logarithm that is the same on every device, so that equal inputs are ranked alike.

    That of single precision is not; in double precision the last bits are lost in the rounding to single.
    """
    return values.double().log().to(values.dtype)


def pair_overlaps(scene: Scene, rows: slice) -> Tensor:
    """``(B, m, A)`` IoU of targets and predicted boxes."""
    return pairwise(box_iou, scene.targets.boxes[:, rows], scene.boxes)

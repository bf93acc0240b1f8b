"""Metric and overlap of pairs of target and point, and which pairs may be matched."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._box_kinds import OVERLAPS, ROTATED_OVERLAPS, farthest_side, inside, is_rotated, widened
from ._rules import TaskAlignedRules
from ._scene import Scene


class Pairs(NamedTuple):
    """Tensors of one shape; metric and overlap are 0 where the pair is not possible."""

    metric: Tensor
    overlap: Tensor
    possible: Tensor
    """Both boxes are finite, the score is a probability, and the point reaches the target's sides."""
    passes: Tensor
    """Possible, and the point lies in the target, and overlap and metric are high enough."""


def pairs_of_rows(rules: TaskAlignedRules, scene: Scene, rows: slice) -> Pairs:
    """Some targets beside all points, ``(B, m, A)``."""
    labels = scene.targets.labels[:, rows].unsqueeze(2).expand(-1, -1, scene.boxes.shape[1])
    return _compare(
        rules,
        scores=scene.scores.transpose(1, 2).gather(1, labels),
        boxes=scene.boxes.unsqueeze(1),
        targets=scene.targets.boxes[:, rows].unsqueeze(2),
        points=scene.points.unsqueeze(1),
        strides=None if scene.strides is None else scene.strides.unsqueeze(1),
        real=_finite(scene.boxes).unsqueeze(1) & scene.targets.matchable[:, rows].unsqueeze(2),
    )


def pairs_of_owners(rules: TaskAlignedRules, scene: Scene, owner: Tensor) -> Pairs:
    """Each point beside the target that holds it, ``(B, A)``; impossible where that is -1."""
    row = owner.clamp(min=0)
    labels = scene.targets.labels.gather(1, row).unsqueeze(2)
    return _compare(
        rules,
        scores=scene.scores.gather(2, labels).squeeze(2),
        boxes=scene.boxes,
        targets=scene.targets.boxes.gather(1, row.unsqueeze(2).expand(-1, -1, scene.boxes.shape[-1])),
        points=scene.points,
        strides=scene.strides,
        real=_finite(scene.boxes) & (owner >= 0),
    )


def _compare(
    rules: TaskAlignedRules,
    *,
    scores: Tensor,
    boxes: Tensor,
    targets: Tensor,
    points: Tensor,
    strides: Tensor | None,
    real: Tensor,
) -> Pairs:
    overlaps = ROTATED_OVERLAPS if is_rotated(boxes) else OVERLAPS
    overlap = overlaps[rules.overlap](boxes, targets).clamp(min=0)
    metric = power(scores, rules.alpha) * power(overlap, rules.beta)
    # A NaN fails every comparison. The score is looked at by itself: to the power of 0, NaN is 1.
    possible = real & (scores >= 0) & (scores <= 1) & (overlap >= 0) & (metric >= 0) & (metric < torch.inf)
    if rules.reach is not None:
        assert strides is not None
        possible = possible & (farthest_side(points, targets) <= rules.reach * strides)
    metric, overlap = torch.where(possible, metric, 0.0), torch.where(possible, overlap, 0.0)
    passes = possible & inside(points, widened(targets, rules.min_side), margin=rules.margin)
    if rules.min_overlap > 0:
        passes = passes & (overlap >= rules.min_overlap)
    if not rules.zero_metric:
        passes = passes & (metric > 0)
    return Pairs(metric, overlap, possible, passes)


def power(base: Tensor, exponent: float) -> Tensor:
    """``base ** exponent``, rounded alike on every device, so that equal inputs are ranked alike.

    Square roots and products are exact to the last bit everywhere; other powers are not, but in double precision
    their last bits are lost in the rounding to single.
    """
    if exponent == 0.5:
        return base.sqrt()
    if exponent in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0):
        return _whole_power(base, int(exponent))
    return base.double().pow(exponent).to(base.dtype)


def _whole_power(base: Tensor, exponent: int) -> Tensor:
    if exponent == 1:
        return base
    half = _whole_power(base, exponent // 2)
    return half * half * base if exponent % 2 else half * half


def _finite(boxes: Tensor) -> Tensor:
    return boxes.isfinite().all(-1)

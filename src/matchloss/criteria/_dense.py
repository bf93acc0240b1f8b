"""What the criteria of dense detectors share about targets and assignments."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..types import Assignment, Targets


class Matched(NamedTuple):
    """Predictions of a batch and what they were matched with."""

    assignment: Assignment
    probabilities: Tensor
    """``(B, A, C)``."""
    boxes: Tensor
    """``(B, A, 4)`` xyxy in pixels, or ``(B, A, 5)`` rotated."""
    points: Tensor
    """``(A, 2)`` where a prediction stands, in pixels."""
    strides: Tensor
    """``(A,)`` pixels."""
    counts: tuple[int, ...]
    """How many predictions each level has."""


def elementwise(module: nn.Module) -> nn.Module:
    """The same loss without its reduction: a criterion sums, and divides once."""
    module = copy.deepcopy(module)
    module.reduction = "none"  # type: ignore[assignment]
    return module


def read_targets(targets: Targets | Sequence[Mapping[str, Tensor]]) -> Targets:
    """Targets of a batch, with room for one object at least, so that there is something to gather."""
    if not isinstance(targets, Targets):
        targets = Targets.from_list(targets)
    if targets.labels.shape[1]:
        return targets
    batch = len(targets.labels)
    return targets._replace(
        labels=targets.labels.new_zeros(batch, 1),
        boxes=targets.boxes.new_zeros(batch, 1, targets.boxes.shape[-1]),
        valid=targets.valid.new_zeros(batch, 1),
        ignore=targets.ignore.new_zeros(batch, 1),
        weights=targets.weights.new_ones(batch, 1),
        masks=None if targets.masks is None else targets.masks.new_zeros(batch, 1, *targets.masks.shape[2:]),
    )


def of_targets(values: Tensor, target_index: Tensor) -> Tensor:
    """Values ``(B, M, ...)`` of each prediction's target, ``(B, A, ...)``; background has those of the first one."""
    index = target_index.clamp(min=0)
    extra = values.shape[2:]
    return values.gather(1, index.reshape(*index.shape, *[1] * len(extra)).expand(*index.shape, *extra))


def count(assignment: Assignment, targets: Targets) -> dict[str, Tensor]:
    """What a log wants to know: positives, objects, objects that no prediction is trained on, ignored predictions."""
    positive, real = assignment.target_index >= 0, targets.valid & ~targets.ignore
    taken = torch.zeros_like(targets.labels)
    taken.scatter_add_(1, assignment.target_index.clamp(min=0), positive.long())
    return {
        "positives": positive.sum(),
        "targets": real.sum(),
        "starved": (real & (taken == 0)).sum(),
        "ignored": assignment.ignore.sum(),
    }

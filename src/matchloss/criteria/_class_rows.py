"""The class loss of dense predictions, a number each."""

from typing import cast

import torch
from torch import Tensor, nn

from .._core import to_compute, use_triton
from ..losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    IoUAwareBinaryCrossEntropyLoss,
    MatchabilityAwareLoss,
    QualityFocalLoss,
    SigmoidFocalLoss,
    SoftmaxFocalLoss,
    VarifocalLoss,
)
from ..losses._focal_family import SumsRows
from ..types import Assignment

EXCLUSIVE_LOSSES = (CrossEntropyLoss, SoftmaxFocalLoss)
"""Losses whose classes exclude each other; the last of their logits is for background."""

SUMMED_LOSSES = (
    BinaryCrossEntropyLoss,
    SigmoidFocalLoss,
    QualityFocalLoss,
    VarifocalLoss,
    MatchabilityAwareLoss,
    IoUAwareBinaryCrossEntropyLoss,
)
"""Losses that a GPU sums over the classes as it reads them."""


def class_probabilities(logits: Tensor, num_classes: int) -> Tensor:
    """``(B, A, C)`` probabilities for the assigner; with one logit more there is a background to leave out."""
    logits = to_compute(logits.detach())
    return logits.sigmoid() if logits.shape[-1] == num_classes else logits.softmax(-1)[..., :num_classes]


def class_rows(module: nn.Module, logits: Tensor, assignment: Assignment, scores: Tensor) -> Tensor:
    """``(B, A)`` loss of each prediction, summed over its classes, 0 where it is ignored."""
    labels, counted = assignment.labels, ~assignment.ignore
    if isinstance(module, EXCLUSIVE_LOSSES):
        with_background = torch.where(labels >= 0, labels, logits.shape[-1] - 1)
        rows: Tensor = module(logits.movedim(-1, 1), with_background, mask=counted)
        return rows
    if type(module) in SUMMED_LOSSES and use_triton(logits):  # a class derived from one may compute something else
        return cast(SumsRows, module).row_sums(logits, labels, scores, counted)
    elements: Tensor = module(logits, labels, scores=scores, mask=counted.unsqueeze(-1))
    return elements.sum(-1)

"""The class loss of dense predictions, a number each."""

import torch
from torch import Tensor, nn

from .._core import to_compute
from ..losses import CrossEntropyLoss, SoftmaxFocalLoss
from ..types import Assignment

EXCLUSIVE_LOSSES = (CrossEntropyLoss, SoftmaxFocalLoss)
"""Losses whose classes exclude each other; the last of their logits is for background."""


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
    elements: Tensor = module(logits, labels, scores=scores, mask=counted.unsqueeze(-1))
    return elements.sum(-1)

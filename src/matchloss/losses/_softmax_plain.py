"""The softmax statistics in ordinary operators: the specification, differentiable any number of times."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import keep_valid, to_compute
from ._class_inputs import keep_labels
from ._region import sum_by_label


class SoftmaxStatistics(NamedTuple):
    """All that likelihood and region losses of labels need of the logits; float32, or float64 for float64."""

    log_prob: Tensor
    """``(N, P)`` log probability of the labelled class, 0 where not valid."""
    overlap: Tensor
    """``(N, C)`` sum of the labels' own probability, over the valid elements with that label."""
    predicted: Tensor
    """``(N, C)`` sum over the valid elements of each class's probability."""
    actual: Tensor
    """``(N, C)`` number of valid elements with that label; alone without a gradient."""


def plain_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None) -> SoftmaxStatistics:
    """Of ``(N, C, P)`` logits of any float dtype, which hold anything where not valid, as ``(N, P)`` labels do."""
    return with_label_sums(*plain_log_prob(logits, labels, valid), labels, valid)


def plain_likelihood(
    logits: Tensor, labels: Tensor, valid: Tensor | None, spread: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The labels' log probability; and that of all classes, each times its number of ``spread`` ``(C,)``."""
    log_probs = _log_probs(logits, valid)
    log_prob = _of_labels(log_probs, labels, valid)
    if spread is None:
        return (log_prob,)
    return log_prob, keep_valid((log_probs * spread[:, None]).sum(1), valid)


def plain_log_prob(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """The labels' log probability and the summed probability of the classes."""
    log_probs = _log_probs(logits, valid)
    predicted = keep_valid(log_probs.exp(), None if valid is None else valid.unsqueeze(1)).sum(2)
    return _of_labels(log_probs, labels, valid), predicted


def _log_probs(logits: Tensor, valid: Tensor | None) -> Tensor:
    return keep_valid(to_compute(logits), None if valid is None else valid.unsqueeze(1)).log_softmax(1)


def _of_labels(log_probs: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
    return keep_valid(log_probs.gather(1, keep_labels(labels, valid).unsqueeze(1)).squeeze(1), valid)


def with_label_sums(log_prob: Tensor, predicted: Tensor, labels: Tensor, valid: Tensor | None) -> SoftmaxStatistics:
    """Collect by label what the labels have; the logits need not be read again."""
    labels, classes = keep_labels(labels, valid), predicted.shape[1]
    overlap = sum_by_label(keep_valid(log_prob.exp(), valid), labels, classes)
    actual = sum_by_label(keep_valid(torch.ones_like(log_prob), valid), labels, classes)
    return SoftmaxStatistics(log_prob, overlap, predicted, actual)

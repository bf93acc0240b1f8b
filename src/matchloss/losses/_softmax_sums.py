"""Region sums of class logits: one softmax, no one-hot tensor."""

import torch
from torch import Tensor

from ._class_inputs import ClassInputs, read_class_inputs
from ._region import Form, RegionSums, check_form, sum_by_label
from ._softmax_plain import SoftmaxStatistics
from ._softmax_statistics import softmax_statistics


def softmax_sums(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    *,
    form: Form = "linear",
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
) -> RegionSums:
    """Region sums of ``(N, C, *)`` logits with labels or dense targets."""
    check_form(caller, form)
    inputs = read_class_inputs(
        caller, logits, targets, class_dim=class_dim, ignore_index=ignore_index, mask=mask, weights=weights
    )
    if inputs.dense is not None:
        return _dense_sums(inputs, inputs.dense, form)
    if inputs.weights is None and form != "squared":  # of a hard label, min(p, t) is p t
        return statistics_to_sums(softmax_statistics(inputs))
    return _weighted_sums(inputs, form)


def statistics_to_sums(statistics: SoftmaxStatistics) -> RegionSums:
    """Every valid element has a label, so that the labels make up the area."""
    overlap, predicted, actual = statistics.overlap, statistics.predicted, statistics.actual
    return RegionSums(overlap, predicted, actual, actual.sum(1, keepdim=True).expand_as(actual))


def _weighted_sums(inputs: ClassInputs, form: Form) -> RegionSums:
    """Labels with a weight per element, or squared probabilities."""
    labels, classes = inputs.clean_labels(), inputs.logits.shape[1]
    counted = _counted(inputs)
    probs = inputs.clean_logits().softmax(1)
    overlap = probs.gather(1, labels.unsqueeze(1)).squeeze(1) * counted
    predicted = probs.square() if form == "squared" else probs
    return RegionSums(
        overlap=sum_by_label(overlap, labels, classes),
        predicted=(predicted * counted.unsqueeze(1)).sum(2),
        actual=sum_by_label(counted, labels, classes),
        area=counted.sum(1, keepdim=True).expand(-1, classes),
    )


def _dense_sums(inputs: ClassInputs, targets: Tensor, form: Form) -> RegionSums:
    """One-hot, smoothed or mixed targets."""
    counted = _counted(inputs).unsqueeze(1)
    return dense_sums(inputs.clean_logits().softmax(1), targets, counted, form)


def dense_sums(probs: Tensor, targets: Tensor, counted: Tensor, form: Form) -> RegionSums:
    """Sums of ``(N, C, P)`` probabilities and targets, each element ``counted`` so many times."""
    overlap = torch.minimum(probs, targets) if form == "min" else probs * targets
    if form == "squared":
        probs, targets = probs.square(), targets.square()
    area = counted.expand_as(probs)
    overlap, predicted, actual = ((values * counted).sum(2) for values in (overlap, probs, targets))
    return RegionSums(overlap, predicted, actual, area.sum(2))


def _counted(inputs: ClassInputs) -> Tensor:
    """``(N, P)`` weight with which an element counts: 0 where not valid."""
    like = inputs.logits[:, 0]
    counted = torch.ones_like(like, dtype=inputs.dtype) if inputs.weights is None else inputs.weights.to(inputs.dtype)
    return counted if inputs.valid is None else torch.where(inputs.valid, counted, 0.0)

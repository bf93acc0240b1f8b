"""Region sums of class logits: one softmax, no one-hot tensor."""

import torch
from torch import Tensor

from ._class_inputs import ClassInputs, read_class_inputs
from ._region import Form, RegionSums, check_form
from ._softmax_statistics import SoftmaxStatistics, softmax_statistics


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
        return statistics_to_sums(softmax_statistics(inputs), inputs)
    return _weighted_sums(inputs, form)


def statistics_to_sums(statistics: SoftmaxStatistics, inputs: ClassInputs) -> RegionSums:
    """The overlap is the labels' own probability, collected by label; nothing else is left to read."""
    labels, classes = _labels(inputs), inputs.logits.shape[1]
    counted = _counted(inputs)
    return RegionSums(
        overlap=sum_by_label(statistics.log_prob.exp() * counted, labels, classes),
        predicted=statistics.prob_sum,
        actual=sum_by_label(counted, labels, classes),
        area=counted.sum(1, keepdim=True).expand(-1, classes),
    )


def sum_by_label(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``(N, P)`` values to ``(N, C)`` sums; in float64, since a running float32 sum of a large image loses digits."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    sums = torch.zeros(values.shape[0], classes, dtype=wide, device=values.device)
    return sums.scatter_add(1, labels, values.to(wide)).to(values.dtype)


def _weighted_sums(inputs: ClassInputs, form: Form) -> RegionSums:
    """Labels with a weight per element, or squared probabilities."""
    labels, classes = _labels(inputs), inputs.logits.shape[1]
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


def _labels(inputs: ClassInputs) -> Tensor:
    assert inputs.labels is not None
    return inputs.labels


def _counted(inputs: ClassInputs) -> Tensor:
    """``(N, P)`` weight with which an element counts: 0 where not valid."""
    like = inputs.logits[:, 0]
    counted = torch.ones_like(like) if inputs.weights is None else inputs.weights.to(like.dtype)
    return counted if inputs.valid is None else torch.where(inputs.valid, counted, 0.0)

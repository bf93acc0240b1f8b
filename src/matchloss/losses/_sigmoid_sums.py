"""Region sums of binary maps: each class by itself."""

import torch
from torch import Tensor

from .._core import both, check_float, check_mask, compute_dtype, expand_to, keep_valid, to_compute
from ._class_inputs import labelled
from ._map_inputs import class_first, has_labels
from ._region import Form, RegionSums, check_form, sum_by_label
from ._sigmoid_cpu import can_take_binary, cpu_statistics
from ._softmax_sums import dense_sums


def sigmoid_sums(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    *,
    form: Form = "linear",
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int | None = 1,
) -> RegionSums:
    """Region sums of ``(N, C, *)`` logits with targets of that shape, or ``(N, *)`` labels with -1 for background."""
    check_form(caller, form)
    check_float(caller, "logits", logits)
    check_mask(caller, mask)
    by_labels = has_labels(caller, logits, targets, class_dim)
    maps = _maps(to_compute(logits), class_dim)
    valid = None if mask is None else _maps(expand_to(caller, "mask", mask, logits), class_dim)
    if by_labels:
        targets = targets.unsqueeze(-1).flatten(1)
        is_labelled = labelled(caller, targets, maps.shape[1], ignore_index, lowest=-1)
        if is_labelled is not None:
            targets = torch.where(is_labelled, targets, -1)
            valid = both(valid, is_labelled.unsqueeze(1).expand_as(maps))
    else:
        targets = _maps(targets, class_dim)
    has_kernel = weights is None and (by_labels or form != "min")  # of a label, min(p, t) is p t
    if has_kernel and can_take_binary(maps, targets):
        return RegionSums(*cpu_statistics(maps, targets, valid, squared=form == "squared")[1:])
    probs = keep_valid(maps, valid).sigmoid()
    counted = torch.ones_like(probs)
    if weights is not None:
        counted = _maps(expand_to(caller, "weights", weights, logits), class_dim).to(probs.dtype)
    counted = keep_valid(counted, valid)
    if by_labels:
        return _label_sums(targets, probs, counted, form)
    return dense_sums(probs, keep_valid(targets.to(compute_dtype(logits)), valid), counted, form)


def _maps(values: Tensor, class_dim: int | None) -> Tensor:
    """To ``(N, C, P)``."""
    return class_first(values, class_dim).unsqueeze(-1).flatten(2)


def _label_sums(labels: Tensor, probs: Tensor, counted: Tensor, form: Form) -> RegionSums:
    """Labels instead of maps: the overlap is collected from the labelled class alone."""
    is_object, index = labels >= 0, labels.clamp(min=0).long()
    at_label = keep_valid(counted.gather(1, index.unsqueeze(1)).squeeze(1), is_object)
    overlap = probs.gather(1, index.unsqueeze(1)).squeeze(1) * at_label
    predicted = probs.square() if form == "squared" else probs
    classes = probs.shape[1]
    return RegionSums(
        overlap=sum_by_label(overlap, index, classes),
        predicted=(predicted * counted).sum(2),
        actual=sum_by_label(at_label, index, classes),
        area=counted.sum(2),
    )

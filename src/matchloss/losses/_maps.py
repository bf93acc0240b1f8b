"""How the boundary losses read logits: as maps of probability, one a class, that keep their place in space."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import (
    Reduction,
    both,
    check_float,
    check_mask,
    compute_dtype,
    expand_to,
    keep_valid,
    reduce_loss,
    to_compute,
)
from ._class_inputs import labelled, read_class_inputs
from ._map_inputs import class_first, has_labels
from .distance_maps import check_space


class Maps(NamedTuple):
    """Predicted and actual regions, ``(N, C, *)``."""

    probs: Tensor
    """Float32 or float64, 0 where not valid."""
    targets: Tensor
    """The same for the targets."""
    valid: Tensor | None
    """Bool, ``(N, 1, *)`` for exclusive classes, else ``(N, C, *)``; None where everything counts."""
    weights: Tensor | None
    """Weight per element, of the shape of ``valid``."""
    exclusive: bool
    """Whether the classes share each pixel, which then has one loss, their mean."""
    class_dim: int | None
    """Where the logits have their classes."""

    def reduce(self, caller: str, losses: Tensor, reduction: Reduction) -> Tensor:
        """Reduce losses ``(N, C, *)`` over pixels and classes; unreduced they get the shape of the labels or logits."""
        if self.exclusive:
            losses = losses.mean(1, keepdim=True)
        losses = reduce_loss(caller, losses, reduction, valid=self.valid, weights=self.weights)
        if reduction != "none":
            return losses
        if self.exclusive or self.class_dim is None:
            return losses.squeeze(1)
        return losses.movedim(1, self.class_dim)


def softmax_maps(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    *,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
) -> Maps:
    """Maps of ``(N, C, *)`` logits of exclusive classes, of which ``classes`` are kept."""
    inputs = read_class_inputs(
        caller, logits, targets, class_dim=class_dim, ignore_index=ignore_index, mask=mask, weights=weights
    )
    size = inputs.shape[1:]
    check_space(caller, size)
    chosen = _chosen(caller, classes, inputs.logits.shape[1])
    valid, weights = (
        None if values is None else _in_space(values, size).unsqueeze(1) for values in (inputs.valid, inputs.weights)
    )
    probs = pick(_in_space(inputs.clean_logits().softmax(1), size), chosen)
    if inputs.labels is None:
        assert inputs.dense is not None
        actual = pick(_in_space(inputs.dense, size), chosen)
    else:
        actual = _one_map_a_class(_in_space(inputs.labels, size), chosen).to(probs.dtype)
    return Maps(keep_valid(probs, valid), keep_valid(actual, valid), valid, weights, True, class_dim)


def sigmoid_maps(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int | None = 1,
) -> Maps:
    """Maps of ``(N, C, *)`` logits, each by itself, with targets of that shape or ``(N, *)`` labels, -1 background."""
    check_float(caller, "logits", logits)
    check_mask(caller, mask)
    by_labels = has_labels(caller, logits, targets, class_dim)
    dense = class_first(logits, class_dim)
    check_space(caller, dense.shape[2:])
    valid = None if mask is None else class_first(expand_to(caller, "mask", mask, logits), class_dim)
    if weights is not None:
        weights = class_first(expand_to(caller, "weights", weights, logits), class_dim)
    if by_labels:
        is_labelled = labelled(caller, targets, dense.shape[1], ignore_index, lowest=-1)
        if is_labelled is not None:
            valid = both(valid, is_labelled.unsqueeze(1).expand_as(dense))
        actual = _one_map_a_class(targets, range(dense.shape[1]))
    else:
        actual = class_first(targets, class_dim)
    probs = keep_valid(keep_valid(to_compute(dense), valid).sigmoid(), valid)
    return Maps(probs, keep_valid(actual.to(compute_dtype(logits)), valid), valid, weights, False, class_dim)


def pick(values: Tensor, classes: Sequence[int]) -> Tensor:
    """Some classes of ``(N, C, *)``; not by an index tensor, which would have to travel to the device."""
    if tuple(classes) == tuple(range(values.shape[1])):
        return values
    return torch.stack([values[:, index] for index in classes], 1)


def _in_space(values: Tensor, size: Sequence[int]) -> Tensor:
    """``(..., P)`` to ``(..., *)``."""
    return values.reshape(*values.shape[:-1], *size)


def _one_map_a_class(labels: Tensor, classes: Sequence[int]) -> Tensor:
    """Bool ``(N, C, *)``."""
    return torch.stack([labels == index for index in classes], 1)


def _chosen(caller: str, classes: Sequence[int] | None, count: int) -> Sequence[int]:
    """All classes, or those asked for, in their order."""
    if classes is None:
        return range(count)
    if len(classes) == 0 or len(set(classes)) < len(classes) or min(classes) < 0 or max(classes) >= count:
        raise ValueError(f"{caller}: expected classes to be different indices in [0, {count}), got {tuple(classes)}")
    return classes

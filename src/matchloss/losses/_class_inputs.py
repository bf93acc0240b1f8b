"""How every loss reads class logits with integer labels or dense targets."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import (
    Reduction,
    both,
    check_float,
    check_mask,
    compute_dtype,
    dtype_name,
    expand_to,
    keep_valid,
    reduce_loss,
    to_compute,
)


class ClassInputs(NamedTuple):
    """Class logits and their targets, all other dimensions flattened to one, P."""

    logits: Tensor
    """``(N, C, P)`` of the caller's dtype, for kernels that read it; may hold anything where not valid."""
    labels: Tensor | None
    """``(N, P)`` of the caller's dtype; may hold anything where not valid; None for dense targets."""
    dense: Tensor | None
    """``(N, C, P)`` float targets, 0 where not valid; None for labels."""
    valid: Tensor | None
    """``(N, P)`` bool; None where everything counts."""
    weights: Tensor | None
    """``(N, P)`` float weight per element."""
    shape: torch.Size
    """``(N, *)``, the shape of the unreduced loss."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the loss, and of all that is computed for it: float32 or float64."""
        return compute_dtype(self.logits)

    def clean_logits(self) -> Tensor:
        """Widened logits with 0 where not valid, so that a NaN there reaches neither value nor gradient."""
        return keep_valid(to_compute(self.logits), None if self.valid is None else self.valid.unsqueeze(1))

    def clean_labels(self) -> Tensor:
        """Int64 labels with 0 where not valid, so that one may index with them."""
        assert self.labels is not None
        return keep_labels(self.labels, self.valid)


def read_class_inputs(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    *,
    class_dim: int = 1,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> ClassInputs:
    """Check and flatten ``(N, C, *)`` logits with ``(N, *)`` labels or ``(N, C, *)`` targets."""
    check_float(caller, "logits", logits)
    check_mask(caller, mask)
    if not -logits.ndim <= class_dim < logits.ndim:
        raise ValueError(f"{caller}: expected class_dim within {logits.ndim} dimensions, got {class_dim}")
    channels = logits.shape[class_dim]
    if channels < 2:
        raise ValueError(f"{caller}: expected at least 2 class channels, got {channels}; for one use a sigmoid loss")
    one = logits.select(class_dim, 0)  # stands for the shape of labels, mask, weights and unreduced loss
    if targets.shape not in (logits.shape, one.shape):
        raise ValueError(
            f"{caller}: expected labels of shape {tuple(one.shape)} or targets of shape {tuple(logits.shape)}, "
            f"got {tuple(targets.shape)}"
        )
    labels = dense = None
    valid = None if mask is None else _spatial(expand_to(caller, "mask", mask, one))
    if targets.shape == logits.shape:
        dense = _spatial_classes(targets, class_dim).to(compute_dtype(logits))
        dense = keep_valid(dense, None if valid is None else valid.unsqueeze(1))
    else:
        labels = _spatial(targets)
        valid = both(valid, labelled(caller, labels, channels, ignore_index))
    if weights is not None:
        weights = _spatial(expand_to(caller, "weights", weights, one))
    return ClassInputs(_spatial_classes(logits, class_dim), labels, dense, valid, weights, one.shape)


def read_class_weights(caller: str, class_weights: Tensor | None, inputs: ClassInputs) -> Tensor | None:
    """Check ``(C,)`` weights and bring them to the logits' dtype and device."""
    if class_weights is None:
        return None
    classes = inputs.logits.shape[1]
    if class_weights.shape != (classes,):
        raise ValueError(f"{caller}: expected class_weights of shape ({classes},), got {tuple(class_weights.shape)}")
    return class_weights.to(inputs.logits.device, inputs.dtype)


def weight_of_targets(inputs: ClassInputs, class_weights: Tensor) -> Tensor:
    """``(N, P)`` class weight of each element's target; the mixture of weights for a mixed target."""
    if inputs.labels is not None:
        return class_weights[inputs.clean_labels()]
    assert inputs.dense is not None
    return (inputs.dense * class_weights[:, None]).sum(1)


def reduce_class_loss(
    caller: str, loss: Tensor, inputs: ClassInputs, reduction: Reduction, *, target_weight: Tensor | None = None
) -> Tensor:
    """Reduce an ``(N, P)`` loss; with ``target_weight`` the mean divides by its sum over the valid elements."""
    total = None if target_weight is None else keep_valid(target_weight, inputs.valid).sum()
    loss = reduce_loss(caller, loss, reduction, valid=inputs.valid, weights=inputs.weights, total=total)
    return loss.reshape(inputs.shape) if reduction == "none" else loss


def keep_labels(labels: Tensor, valid: Tensor | None) -> Tensor:
    """What of the labels may index classes."""
    return (labels if valid is None else torch.where(valid, labels, 0)).long()


def labelled(caller: str, labels: Tensor, classes: int, ignore_index: int | None, *, lowest: int = 0) -> Tensor | None:
    """Where labels are not ignored, None for everywhere; on the CPU also check their range, which waits for nothing."""
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"{caller}: expected integer labels, got {dtype_name(labels)}")
    labels = labels.long()  # of uint8 labels, torch would compare -100 as 156, and drop that class in silence
    can_look = labels.device.type == "cpu" and labels.numel() > 0 and not torch.compiler.is_compiling()
    if can_look and _are_all_classes(labels, classes, ignore_index, lowest):
        return None
    valid = None if ignore_index is None else labels != ignore_index
    if can_look:
        low, high = (labels if valid is None else torch.where(valid, labels, lowest)).aminmax()
        if low < lowest or high >= classes:
            wrong = int(low) if low < lowest else int(high)
            raise ValueError(f"{caller}: expected labels in [{lowest}, {classes}) or {ignore_index=}, got {wrong}")
    return valid


def _are_all_classes(labels: Tensor, classes: int, ignore_index: int | None, lowest: int) -> bool:
    """Whether nothing is ignored, nor out of range: the common case, in one pass over the labels instead of four."""
    low, high = labels.aminmax()
    ignores_a_class = ignore_index is not None and lowest <= ignore_index < classes
    return not ignores_a_class and bool(low >= lowest) and bool(high < classes)


def _spatial(values: Tensor) -> Tensor:
    """``(N, *)`` to ``(N, P)``."""
    return values.reshape(1, 1) if values.ndim == 0 else values.unsqueeze(-1).flatten(1)


def _spatial_classes(values: Tensor, class_dim: int) -> Tensor:
    """``(N, C, *)``, classes at ``class_dim``, to ``(N, C, P)`` without a copy where strides allow."""
    if values.ndim == 1:
        return values.reshape(1, -1, 1)
    return values.movedim(class_dim, 1).unsqueeze(-1).flatten(2)

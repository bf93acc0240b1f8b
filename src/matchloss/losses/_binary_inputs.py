"""How every sigmoid, focal and quality loss reads logits with dense targets or integer labels."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import both, check_float, check_mask, compute_dtype, dtype_name, expand_to, keep_valid, to_compute
from ._class_inputs import labelled


class BinaryInputs(NamedTuple):
    """One independent yes-or-no question an element; all fields have the logits' shape but ``labels``."""

    logits: Tensor
    """Float32 or float64, 0 where not valid."""
    targets: Tensor
    """Float targets in [0, 1], 0 where not valid."""
    valid: Tensor | None
    """Bool; None where everything counts."""
    weights: Tensor | None


def read_binary_inputs(
    caller: str,
    logits: Tensor,
    targets: Tensor,
    *,
    scores: Tensor | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
) -> BinaryInputs:
    """Check logits with targets of their shape, or with labels ``(*)`` for logits ``(*, C)``.

    Labels are -1 for background and may carry ``scores (*)``, the soft target of the labelled class.
    """
    check_float(caller, "logits", logits)
    check_mask(caller, mask)
    valid = None if mask is None else expand_to(caller, "mask", mask, logits)
    if weights is not None:
        weights = expand_to(caller, "weights", weights, logits)
    if targets.shape == logits.shape:
        if scores is not None:
            raise ValueError(f"{caller}: expected scores only beside integer labels, got targets of the logits' shape")
        dense = targets.to(compute_dtype(logits))
    elif targets.shape == logits.shape[:-1]:
        is_labelled = labelled(caller, targets, logits.shape[-1], ignore_index, lowest=-1)
        if is_labelled is not None:
            valid = both(valid, is_labelled.unsqueeze(-1).expand_as(logits))
        dense = _dense_targets(caller, logits, targets, scores)
    else:
        raise ValueError(
            f"{caller}: expected targets of shape {tuple(logits.shape)} or labels of shape "
            f"{tuple(logits.shape[:-1])}, got {tuple(targets.shape)}"
        )
    return BinaryInputs(keep_valid(to_compute(logits), valid), keep_valid(dense, valid), valid, weights)


def positive_elements(logits: Tensor, targets: Tensor) -> Tensor:
    """Bool of the logits' shape: the labelled class whatever its score, or a dense target above 0."""
    if targets.shape == logits.shape:
        return targets > 0
    return targets.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)


def _dense_targets(caller: str, logits: Tensor, labels: Tensor, scores: Tensor | None) -> Tensor:
    """Targets of labels: the score at the label, 0 elsewhere; no int64 one-hot of eight bytes an element."""
    hit = labels.unsqueeze(-1) == torch.arange(logits.shape[-1], device=logits.device)
    dtype = compute_dtype(logits)
    if scores is None:
        return hit.to(dtype)
    if scores.shape != labels.shape or not scores.is_floating_point():
        got = f"{tuple(scores.shape)} {dtype_name(scores)}"
        raise ValueError(f"{caller}: expected float scores of the labels' shape {tuple(labels.shape)}, got {got}")
    return torch.where(hit, scores.to(dtype).unsqueeze(-1), 0.0)

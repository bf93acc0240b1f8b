"""How the losses of the focal family are taken on a GPU: which arguments the operators take, and their reductions."""

from typing import Protocol

import torch
from torch import Tensor

from .._core import Reduction, reduce_loss, use_triton
from ._class_inputs import labelled
from ._focal_operators import focal_elements, focal_rows
from ._focus import Focus


class SumsRows(Protocol):
    """A module of the family."""

    def row_sums(self, logits: Tensor, labels: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
        """``(*)`` sums over the classes of ``(*, C)`` logits, 0 where not valid, without a tensor of their size.

        For logits that `use_triton` is for, and scores without gradient.
        """


def takes_labels(
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    reduction: Reduction,
) -> bool:
    """Whether an operator sums these over the classes; arguments that are wrong it leaves for others to reject."""
    if not use_triton(logits) or mask is not None or weights is not None or reduction == "none":
        return False
    if scores is not None and (scores.shape != labels.shape or not scores.is_floating_point() or scores.requires_grad):
        return False
    is_integer = not (labels.is_floating_point() or labels.is_complex())
    is_row = logits.ndim > 0 and logits.shape[-1] > 0 and labels.shape == logits.shape[:-1]
    return logits.is_floating_point() and is_row and is_integer


def takes_dense(
    logits: Tensor, targets: Tensor, scores: Tensor | None, mask: Tensor | None, weights: Tensor | None
) -> bool:
    """Whether an operator takes these element by element; it has no gradient in the targets."""
    if not use_triton(logits) or scores is not None or mask is not None or weights is not None:
        return False
    return logits.is_floating_point() and targets.shape == logits.shape and not targets.requires_grad


def sum_rows(
    logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None, focus: Focus, ignore_index: int | None
) -> Tensor:
    """``(*)`` float32 sums over the classes of ``(*, C)`` logits; all else has one value a row."""
    labels_scores_valid = (None if part is None else part.flatten() for part in (labels, scores, valid))
    rows: Tensor = focal_rows(
        logits.reshape(labels.numel(), logits.shape[-1]), *labels_scores_valid, *focus, ignore_index
    )
    return rows.view(labels.shape)


def reduce_rows(
    caller: str, rows: Tensor, logits: Tensor, labels: Tensor, ignore_index: int | None, reduction: Reduction
) -> Tensor:
    """Reduce sums over the classes, which are 0 where not valid, to what the elements would give."""
    if reduction != "mean":
        return reduce_loss(caller, rows, reduction)
    valid = labelled(caller, labels, logits.shape[-1], ignore_index, lowest=-1)
    counted = rows.new_full((), labels.numel()) if valid is None else valid.sum()
    return reduce_loss(caller, rows, reduction, total=counted * logits.shape[-1])


def reduce_elements(caller: str, logits: Tensor, targets: Tensor, focus: Focus, reduction: Reduction) -> Tensor:
    """Take and reduce the loss of dense targets; its elements are written only where they are asked for."""
    losses: Tensor = focal_elements(logits, targets, *focus, reduction != "none")
    total = losses.new_full((), logits.numel()) if reduction == "mean" else None
    return reduce_loss(caller, losses, reduction, total=total)


def hide_worthless(labels: Tensor, scores: Tensor | None) -> Tensor:
    """Make background of labels whose score is 0; one that is NaN stays to be seen."""
    return labels if scores is None else torch.where(scores <= 0, -1, labels.long())

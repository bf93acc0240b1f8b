"""Binary cross entropy by kernels for the CPU, which read the logits once forward and once backward."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import Reduction, keep_valid, reduce_loss, to_compute
from ._class_inputs import labelled
from ._sigmoid_cpu import can_take_binary


def takes_sum(
    logits: Tensor,
    targets: Tensor,
    scores: Tensor | None,
    mask: Tensor | None,
    weights: Tensor | None,
    reduction: Reduction,
) -> bool:
    """Whether a kernel adds up these losses; arguments that are wrong it leaves for others to reject."""
    if mask is not None or weights is not None or reduction not in ("sum", "mean") or not logits.is_floating_point():
        return False
    if scores is not None and (scores.shape != targets.shape or not scores.is_floating_point() or scores.requires_grad):
        return False
    is_dense = targets.shape == logits.shape and scores is None
    is_label = not (targets.is_floating_point() or targets.is_complex())
    is_row = logits.ndim > 0 and targets.shape == logits.shape[:-1]
    return (is_dense or (is_label and is_row)) and can_take_binary(logits, targets)


def reduced_sum(
    caller: str, logits: Tensor, targets: Tensor, scores: Tensor | None, ignore_index: int | None, reduction: Reduction
) -> Tensor:
    """Sum or mean of all losses, of which none is written; nor are dense targets of labels."""
    count, logits = float(logits.numel()), to_compute(logits)
    if targets.shape == logits.shape:
        total: Tensor = _Elements.apply(logits, targets.to(logits.dtype), True)  # type: ignore[no-untyped-call]
    else:
        classes = logits.shape[-1]
        valid = labelled(caller, targets, classes, ignore_index, lowest=-1)
        if valid is not None:
            count = float(valid.sum() * classes)
        rows = (None if values is None else values.flatten() for values in (targets, scores, valid))
        total = _Labels.apply(logits.reshape(targets.numel(), classes), *rows)  # type: ignore[no-untyped-call]
    return reduce_loss(caller, total, reduction, total=total.new_full((), count))


def element_losses(logits: Tensor, targets: Tensor, pos_weight: Tensor | None) -> Tensor:
    """Each loss of logits and float targets; ``pos_weight`` of their shape."""
    if pos_weight is None and can_take_binary(logits, targets):
        losses: Tensor = _Elements.apply(logits, targets, False)  # type: ignore[no-untyped-call]
        return losses
    return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight, reduction="none")


class _Elements(torch.autograd.Function):
    """Dense targets; nothing is kept but what was given."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, summed: bool) -> Tensor:
        from ..kernels.binary_cross_entropy_cpu import element_losses, element_sum

        ctx.save_for_backward(logits, targets)
        return element_sum(logits, targets) if summed else element_losses(logits, targets)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        from ..kernels.binary_cross_entropy_cpu import element_slopes

        logits, targets = ctx.saved_tensors
        grad = grad.expand(logits.shape)
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return *torch.autograd.grad(losses, logits, grad, create_graph=True), None, None
        return element_slopes(logits, targets, grad), None, None


class _Labels(torch.autograd.Function):
    """The sum over all rows and classes of ``(R, C)`` logits; nothing is kept but what was given."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None) -> Tensor:
        from ..kernels.binary_cross_entropy_cpu import label_sum

        ctx.save_for_backward(logits, labels, scores, valid)
        return label_sum(logits, labels, scores, valid)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        from ..kernels.binary_cross_entropy_cpu import label_slopes

        logits, labels, scores, valid = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            total = _plain_sum(logits, labels, scores, valid)
            return *torch.autograd.grad(total, logits, grad, create_graph=True), None, None, None
        return label_slopes(logits, labels, scores, valid, float(grad)), None, None, None


def _plain_sum(logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None) -> Tensor:
    """The same in operators that can be differentiated again."""
    targets = (labels.unsqueeze(1) == torch.arange(logits.shape[1])).to(logits.dtype)
    if scores is not None:
        targets = torch.where(targets > 0, scores.to(logits.dtype).unsqueeze(1), 0.0)
    counted = None if valid is None else valid.unsqueeze(1)
    losses = F.binary_cross_entropy_with_logits(keep_valid(logits, counted), targets, reduction="none")
    return keep_valid(losses, counted).sum()

"""The focal family on a GPU: an operator for integer labels, summed over classes, and one for dense targets."""

from typing import Any

import torch
from torch import Tensor

from .._core import keep_valid
from ._focus import Focus, plain_term

BLOCK = 1024
"""Elements whose sum is one number: eight a thread of a program."""


@torch.library.custom_op("matchloss::focal_rows", mutates_args=())
def focal_rows(
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    kind: str,
    alpha: float | None,
    gamma: float,
    detach: bool,
    ignore_index: int | None,
) -> Tensor:
    """Sum a loss of the family over the classes. Neither logits are copied to float32 nor is anything kept of them.

    Shapes:
        logits: (R, C) of any dtype but float64.
        labels: (R,) integers; what is outside [0, C) is background.
        scores: (R,) floats, soft targets of the labels, without gradient; 1 where not given.
        valid: (R,) bool; False, like a label of `ignore_index`, makes the sum 0.
        returns: (R,) float32.
    """
    from ..kernels.focal_rows_cuda import sum_rows

    return sum_rows(logits, labels, scores, valid, kind, alpha, gamma, ignore_index)


@focal_rows.register_fake
def _(logits: Tensor, labels: Tensor, *options: Any) -> Tensor:
    return torch.empty_like(labels, dtype=torch.float32, memory_format=torch.contiguous_format)


@torch.library.custom_op("matchloss::focal_rows_grad", mutates_args=())
def focal_rows_grad(
    grad: Tensor,
    logits: Tensor,
    labels: Tensor,
    scores: Tensor | None,
    valid: Tensor | None,
    kind: str,
    alpha: float | None,
    gamma: float,
    detach: bool,
    ignore_index: int | None,
) -> Tensor:
    """Gradient of `focal_rows` in the logits, in their dtype."""
    from ..kernels.focal_rows_cuda import slopes_of_rows

    return slopes_of_rows(grad, logits, labels, scores, valid, kind, alpha, gamma, detach, ignore_index)


@focal_rows_grad.register_fake
def _(grad: Tensor, logits: Tensor, *options: Any) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.options = inputs[4:]


def _rows_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    logits, labels, scores, valid = ctx.saved_tensors
    kind, alpha, gamma, detach, ignore_index = ctx.options
    if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
        rows = plain_rows(logits, labels, scores, valid, Focus(kind, alpha, gamma, detach), ignore_index)
        (grad_logits,) = torch.autograd.grad(rows, logits, grad, create_graph=True)
    else:
        grad_logits = focal_rows_grad(grad, logits, labels, scores, valid, *ctx.options)
    return grad_logits, *[None] * 8


focal_rows.register_autograd(_rows_backward, setup_context=_keep_rows)


def plain_rows(
    logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None, focus: Focus, ignore_index: int | None
) -> Tensor:
    """The same in operators that can be differentiated again."""
    labels = labels.long()
    kept = torch.ones_like(labels, dtype=torch.bool) if valid is None else valid
    if ignore_index is not None:
        kept = kept & (labels != ignore_index)
    positive = (labels.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device)) & kept.unsqueeze(1)
    targets = torch.where(positive, 1.0 if scores is None else scores.float().unsqueeze(1), 0.0)
    rows = plain_term(keep_valid(logits.float(), kept.unsqueeze(1)), targets, focus, positive).sum(1)
    return torch.where(kept, rows, 0.0)


@torch.library.custom_op("matchloss::focal_elements", mutates_args=())
def focal_elements(
    logits: Tensor, targets: Tensor, kind: str, alpha: float | None, gamma: float, detach: bool, summed: bool
) -> Tensor:
    """Take a loss of the family element by element; an element is positive where its target is above 0.

    Shapes:
        logits: (*) of any dtype but float64.
        targets: (*) floats in [0, 1], without gradient.
        returns: (*) float32 losses or, if `summed`, one-dimensional: the sums of `BLOCK` of them at a time.
    """
    from ..kernels.focal_elements_cuda import take_elements

    return take_elements(logits, targets, kind, alpha, gamma, summed, BLOCK)


@focal_elements.register_fake
def _(
    logits: Tensor, targets: Tensor, kind: str, alpha: float | None, gamma: float, detach: bool, summed: bool
) -> Tensor:
    shape = [(logits.numel() + BLOCK - 1) // BLOCK] if summed else logits.shape
    return logits.new_empty(shape, dtype=torch.float32)


@torch.library.custom_op("matchloss::focal_elements_grad", mutates_args=())
def focal_elements_grad(
    grad: Tensor,
    logits: Tensor,
    targets: Tensor,
    kind: str,
    alpha: float | None,
    gamma: float,
    detach: bool,
    summed: bool,
) -> Tensor:
    """Gradient of `focal_elements` in the logits, in their dtype."""
    from ..kernels.focal_elements_cuda import slopes_of_elements

    return slopes_of_elements(grad, logits, targets, kind, alpha, gamma, detach, summed, BLOCK)


@focal_elements_grad.register_fake
def _(grad: Tensor, logits: Tensor, *options: Any) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _keep_elements(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _elements_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    logits, targets = ctx.saved_tensors
    *focus, summed = ctx.options
    if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
        loss = plain_term(logits.float(), targets.float(), Focus(*focus), targets > 0)
        if summed:
            grad = grad.repeat_interleave(BLOCK)[: logits.numel()].view(logits.shape)
        (grad_logits,) = torch.autograd.grad(loss, logits, grad, create_graph=True)
    else:
        grad_logits = focal_elements_grad(grad, logits, targets, *ctx.options)
    return grad_logits, *[None] * 6


focal_elements.register_autograd(_elements_backward, setup_context=_keep_elements)

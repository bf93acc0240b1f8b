"""The focal loss of integer labels, summed over classes: no dense target, no buffer of the logits' size."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._focal_term import has_focal_kernel, plain_focal_term

# Elements a block. It bounds the temporary memory; smaller ones gain nothing and lose much where several threads share
# each operator. A GPU takes all rows at once.
BLOCK = 1 << 20


def focal_rows(logits: Tensor, labels: Tensor, valid: Tensor | None, alpha: float | None, gamma: float) -> Tensor:
    """``(R,)`` sums over the classes of ``(R, C)`` logits; labels are -1 for background, and for rows not valid.

    Nearly every element is a negative. So all are computed as negatives, and the one at each label is replaced.
    """
    form = _FocalKernel if has_focal_kernel(logits) else _FocalRows
    rows: Tensor = form.apply(logits, labels, valid, alpha, gamma)  # type: ignore[no-untyped-call]
    return rows


class _FocalKernel(torch.autograd.Function):
    """Each way reads the logits once; beside them nothing of their size is kept."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, valid: Tensor | None, alpha: float | None, gamma: float
    ) -> Tensor:
        from ..kernels.focal_rows_cpu import focal_row_sums

        ctx.alpha, ctx.gamma = alpha, gamma
        ctx.save_for_backward(logits, labels, valid)
        return focal_row_sums(logits, labels, valid, alpha, gamma)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        from ..kernels.focal_rows_cpu import focal_row_slopes

        logits, labels, valid = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            rows = _plain(logits, labels, valid, ctx.alpha, ctx.gamma)
            (grad,) = torch.autograd.grad(rows, logits, grad, create_graph=True)
            return grad, None, None, None, None
        return focal_row_slopes(logits, labels, valid, grad, ctx.alpha, ctx.gamma), None, None, None, None


class _FocalRows(torch.autograd.Function):
    """The gradient is made beside the value, from the same sigmoid, and is all that is kept of the logits' size."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, valid: Tensor | None, alpha: float | None, gamma: float
    ) -> Tensor:
        ctx.alpha, ctx.gamma = alpha, gamma
        index, is_object = labels.clamp(min=0).unsqueeze(1), labels.unsqueeze(1) >= 0
        slopes, negatives = torch.empty_like(logits), logits.new_empty(logits.shape[0])
        for part in _blocks(logits):
            loss, _ = _negative(logits[part], gamma, slope=slopes[part])
            _zero_label(loss, index[part], is_object[part])
            torch.sum(loss, 1, out=negatives[part])
        positives, label_slopes = _negative(-logits.gather(1, index), gamma)  # a positive is a negative in the mirror
        positives = torch.where(is_object, positives, 0.0).squeeze(1)
        ctx.save_for_backward(logits, labels, valid, slopes, label_slopes)
        of_negatives, of_positives = _factors(alpha)
        rows = negatives * of_negatives + positives * of_positives
        return rows if valid is None else torch.where(valid, rows, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, labels, valid, slopes, label_slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            rows = _plain(logits, labels, valid, ctx.alpha, ctx.gamma)
            (grad,) = torch.autograd.grad(rows, logits, grad, create_graph=True)
            return grad, None, None, None, None
        of_negatives, of_positives = _factors(ctx.alpha)
        grad = grad.unsqueeze(1)
        index, is_object = labels.clamp(min=0).unsqueeze(1), labels.unsqueeze(1) >= 0
        grad_logits = slopes * (grad * of_negatives)
        at_label = torch.where(is_object, -label_slopes * (grad * of_positives), grad_logits.gather(1, index))
        grad_logits.scatter_(1, index, at_label)
        if valid is not None:
            grad_logits.masked_fill_(~valid.unsqueeze(1), 0.0)
        return grad_logits, None, None, None, None


def _blocks(logits: Tensor) -> list[slice]:
    """Rows that are computed together."""
    rows, classes = logits.shape
    size = rows if logits.device.type != "cpu" else BLOCK // max(classes, 1)
    return [slice(start, start + max(size, 1)) for start in range(0, rows, max(size, 1))]


def _factors(alpha: float | None) -> tuple[float, float]:
    """Weight of the negatives and of the positives."""
    return (1.0, 1.0) if alpha is None else (1 - alpha, alpha)


def _zero_label(values: Tensor, index: Tensor, is_object: Tensor) -> None:
    """Take the labelled class out of the negatives; a row without one keeps its first element."""
    values.scatter_(1, index, torch.where(is_object, 0.0, values.gather(1, index)))


def _negative(x: Tensor, gamma: float, slope: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Loss of target 0, ``p^γ c`` with ``c = log(1 + e^x)``, and its slope, ``p^γ (γ (1 - p) c + p)``."""
    slope = torch.sigmoid(x, out=slope)
    loss = F.softplus(x, threshold=50.0)  # torch's own threshold of 20 would cost float64 half its digits
    if gamma == 0:
        return loss, slope
    power = slope.square() if gamma == 2 else slope.pow(gamma)
    slope.addcmul_(slope, loss, value=-gamma).add_(loss, alpha=gamma).mul_(power)
    return loss.mul_(power), slope


def _plain(logits: Tensor, labels: Tensor, valid: Tensor | None, alpha: float | None, gamma: float) -> Tensor:
    """The same in operators that can be differentiated again."""
    targets = (labels.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device)).to(logits.dtype)
    if valid is not None:
        logits = torch.where(valid.unsqueeze(1), logits, 0.0)
    rows = plain_focal_term(logits, targets, alpha, gamma).sum(1)
    return rows if valid is None else torch.where(valid, rows, 0.0)

"""The Lovász extension on the CPU by a kernel, which gives the losses of all rows and their slopes at once."""

from typing import Any

import torch
from torch import Tensor

from .._core import has_numba, use_fast_path

MOST = 2**31
"""Values: the kernel keeps their places to so many."""


def can_take_rows(values: Tensor) -> bool:
    """Whether the kernel may be used."""
    if not use_fast_path() or values.device.type != "cpu" or values.dtype != torch.float32:
        return False
    return values.numel() < MOST and has_numba()


def lovasz_of_probs(probs: Tensor, labels: Tensor, valid: Tensor | None, per_image: bool) -> Tensor:
    """``(N, C)``, or ``(1, C)`` for the batch as one image, from ``(N, C, P)`` probabilities and ``(N, P)`` labels."""
    labels = labels if valid is None else torch.where(valid, labels, -1)
    losses: Tensor = _LovaszRows.apply(probs, labels.int(), len(probs) if per_image else 1, True)  # type: ignore[no-untyped-call]
    return losses


def lovasz_of_errors(errors: Tensor, foreground: Tensor, valid: Tensor) -> Tensor:
    """``(R,)`` of hinge errors ``(R, P)``: one that is 0 gets no gradient, as the hinge would let none through."""
    labels = torch.where(valid, (~foreground).int(), -1)
    losses: Tensor = _LovaszRows.apply(errors.unsqueeze(1), labels, len(errors), False)  # type: ignore[no-untyped-call]
    return losses.squeeze(1)


class _LovaszRows(torch.autograd.Function):
    """Linear while the order of the errors stays: the slopes are all that is kept, and are constants themselves."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, labels: Tensor, groups: int, probs: bool) -> Tensor:
        from ..kernels.lovasz_cpu import weigh_rows

        losses, slopes = weigh_rows(values, labels, groups, probs=probs)
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * grad.unsqueeze(2), None, None, None

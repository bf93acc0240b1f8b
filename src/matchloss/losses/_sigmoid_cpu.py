"""The statistics of binary maps by a kernel for the CPU, which reads the logits once forward and once backward."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import has_numba, keep_valid, use_fast_path


class MapStatistics(NamedTuple):
    """The sums are ``(N, C)``; the cross entropy and the first two are differentiable."""

    cross_entropy: Tensor
    """``(N, C, P)``, 0 where not valid."""
    overlap: Tensor
    predicted: Tensor
    actual: Tensor
    area: Tensor


def can_take_binary(logits: Tensor, targets: Tensor) -> bool:
    """Whether the kernels of binary logits take these; half precision is widened before, float64 asks for more."""
    is_single = logits.device.type == "cpu" and logits.dtype != torch.float64
    return is_single and not targets.requires_grad and use_fast_path() and has_numba()


def cpu_statistics(
    logits: Tensor, targets: Tensor, valid: Tensor | None, *, squared: bool = False, with_losses: bool = False
) -> MapStatistics:
    """Of ``(N, C, P)`` logits, with targets of that shape, or ``(N, P)`` labels where -1 is background.

    `squared` sums the squares of what is predicted and actual. Without losses the cross entropy has no element.
    """
    return MapStatistics(*_MapKernel.apply(logits, targets, valid, squared, with_losses))  # type: ignore[no-untyped-call]


class _MapKernel(torch.autograd.Function):
    """Nothing is kept but what was given: the probabilities are made again, which costs less than to read them."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, valid: Tensor | None, squared: bool, with_losses: bool
    ) -> tuple[Tensor, ...]:
        from ..kernels.sigmoid_statistics_cpu import read_statistics

        ctx.set_materialize_grads(False)  # zeros for each element
        ctx.squared, ctx.with_losses = squared, with_losses
        ctx.save_for_backward(logits, targets, valid)
        losses, sums = read_statistics(logits, targets, valid, squared, with_losses)
        ctx.mark_non_differentiable(*sums[2:], *(() if with_losses else (losses,)))
        return losses, *sums

    @staticmethod
    def backward(
        ctx: Any, grad_losses: Tensor | None, grad_overlap: Tensor | None, grad_predicted: Tensor | None, *_: None
    ) -> tuple[Tensor, None, None, None, None]:
        from ..kernels.sigmoid_statistics_cpu import write_gradient

        logits, targets, valid = ctx.saved_tensors
        none = logits.new_zeros(logits.shape[:2])
        of_overlap, of_predicted = (none if grad is None else grad for grad in (grad_overlap, grad_predicted))
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            results = _plain(logits, targets, valid, ctx.squared)
            grad_losses = torch.zeros_like(logits) if grad_losses is None else grad_losses
            (grad,) = torch.autograd.grad(results, logits, (grad_losses, of_overlap, of_predicted), create_graph=True)
        else:
            grad = write_gradient(grad_losses, of_overlap, of_predicted, logits, targets, valid, ctx.squared)
        return grad, None, None, None, None


def _plain(logits: Tensor, targets: Tensor, valid: Tensor | None, squared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The differentiable ones in operators that can be differentiated again."""
    if targets.shape != logits.shape:
        targets = targets.unsqueeze(1) == torch.arange(logits.shape[1]).unsqueeze(1)
    targets, logits = keep_valid(targets.to(logits.dtype), valid), keep_valid(logits, valid)
    loss = keep_valid(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), valid)
    probs = keep_valid(logits.sigmoid(), valid)
    return loss, (probs * targets).sum(2), (probs.square() if squared else probs).sum(2)

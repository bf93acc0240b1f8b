"""One read of binary logits that serves cross entropy, focal and every region loss."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import compute_dtype, keep_valid, to_compute, use_fast_path, use_triton
from ._sigmoid_cpu import can_take_binary, cpu_statistics


class SigmoidStatistics(NamedTuple):
    """All that elementwise and region losses need of the logits; every field is differentiable."""

    cross_entropy: Tensor
    """``(N, C, P)`` binary cross entropy, 0 where not valid."""
    overlap: Tensor
    """``(N, C)`` sum over the valid elements of ``p t``."""
    predicted: Tensor
    """``(N, C)`` sum over the valid elements of ``p``."""


def sigmoid_statistics(logits: Tensor, targets: Tensor, valid: Tensor | None) -> SigmoidStatistics:
    """Cross entropy of each element and the region sums of ``(N, C, P)`` logits; targets may be bools.

    With f, A and B the gradients of the three results, the gradient is one expression in p:

        dL/dx = f (p - t) + p (1 - p) (A t + B)
    """
    if use_triton(logits) and not targets.requires_grad:
        loss, sums = map_statistics(logits, targets, valid)
        return SigmoidStatistics(loss, *sums.unbind(2))
    if can_take_binary(logits, targets):
        return SigmoidStatistics(*cpu_statistics(to_compute(logits), targets, valid, with_losses=True)[:3])
    logits, targets = keep_valid(to_compute(logits), valid), keep_valid(targets.to(compute_dtype(logits)), valid)
    if use_fast_path() and not targets.requires_grad:
        return SigmoidStatistics(*_SigmoidStatistics.apply(logits, targets, valid))  # type: ignore[no-untyped-call]
    return SigmoidStatistics(*_plain(logits, targets, valid))


def _plain(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The specification: ordinary operators, differentiable any number of times."""
    loss = keep_valid(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"), valid)
    probs = keep_valid(logits.sigmoid(), valid)
    return loss, (probs * targets).sum(2), probs.sum(2)


class _SigmoidStatistics(torch.autograd.Function):
    """The same with the gradient written out; saves the probabilities and the targets."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        probs = logits.sigmoid()
        if valid is not None:  # logits are finite here, so that a product is as good as a fill
            loss.mul_(valid)
            probs.mul_(valid)
        ctx.save_for_backward(logits, probs, targets, valid)
        return loss, (probs * targets).sum(2), probs.sum(2)

    @staticmethod
    def backward(
        ctx: Any, grad_loss: Tensor, grad_overlap: Tensor, grad_predicted: Tensor
    ) -> tuple[Tensor, None, None]:
        logits, probs, targets, valid = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            grads = grad_loss, grad_overlap, grad_predicted
            (grad,) = torch.autograd.grad(_plain(logits, targets, valid), logits, grads, create_graph=True)
            return grad, None, None
        grad = torch.addcmul(grad_predicted.unsqueeze(2), grad_overlap.unsqueeze(2), targets)
        grad.mul_(probs).mul_(1 - probs)
        return grad.addcmul_(grad_loss, probs - targets), None, None


@torch.library.custom_op("matchloss::sigmoid_statistics", mutates_args=())
def map_statistics(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cross entropy ``(N, C, P)``, and ``(N, C, 2)`` overlap and predicted, on a GPU; all inputs of one shape."""
    from ..kernels.sigmoid_statistics_cuda import read_maps

    return read_maps(logits.detach(), targets, valid)


@map_statistics.register_fake
def _(logits: Tensor, targets: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    loss = logits.new_empty(logits.shape, dtype=torch.float32)
    return loss, loss.new_empty((*logits.shape[:2], 2))


@torch.library.custom_op("matchloss::sigmoid_statistics_backward", mutates_args=())
def map_statistics_backward(
    grad_loss: Tensor, grad_sums: Tensor, logits: Tensor, targets: Tensor, valid: Tensor | None
) -> Tensor:
    """Gradient in the logits, in their dtype."""
    from ..kernels.sigmoid_statistics_cuda import write_gradient

    return write_gradient(grad_loss, grad_sums, logits.detach(), targets, valid)


@map_statistics_backward.register_fake
def _(grad_loss: Tensor, grad_sums: Tensor, logits: Tensor, targets: Tensor, valid: Tensor | None) -> Tensor:
    return torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad_loss: Tensor, grad_sums: Tensor) -> tuple[Tensor, None, None]:
    logits, targets, valid = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
        wide, of = keep_valid(to_compute(logits), valid), keep_valid(targets.float(), valid)
        grads = grad_loss, *grad_sums.unbind(2)
        (grad,) = torch.autograd.grad(_plain(wide, of, valid), logits, grads, create_graph=True)
        return grad, None, None
    return map_statistics_backward(grad_loss, grad_sums, logits, targets, valid), None, None


map_statistics.register_autograd(_differentiate, setup_context=_save)

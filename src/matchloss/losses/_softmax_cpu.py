"""The softmax statistics by kernels for the CPU, which read the logits once forward and once backward.

They keep nothing of the size of the logits: the softmax is made again, which costs less than to write and read it.
"""

from typing import Any

import torch
from torch import Tensor

from .._core import has_numba, use_fast_path
from ._softmax_plain import plain_likelihood, plain_statistics

FEWEST_PIXELS = 32
"""A kernel does several pixels at once, and plain operators several classes."""
FEWEST_LOGITS = 1 << 13
"""Of fewer, plain operators have found the likelihood before a kernel is called."""


def can_take_pixels(logits: Tensor) -> bool:
    """Whether a kernel takes ``(N, C, P)`` logits; half precision is widened before, float64 asks for more."""
    return logits.shape[2] >= FEWEST_PIXELS and _can_take(logits)


def can_take_likelihood(logits: Tensor) -> bool:
    """Whether the kernel of likelihoods does, which takes the classes of one pixel together too."""
    return logits.numel() >= FEWEST_LOGITS and _can_take(logits)


def _can_take(logits: Tensor) -> bool:
    is_narrow = logits.device.type == "cpu" and logits.dtype != torch.float64
    return is_narrow and use_fast_path() and has_numba()


def cpu_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log probability ``(N, P)`` of the labels, and ``(N, 3, C)`` overlap, predicted and actual."""
    results: tuple[Tensor, Tensor] = _StatisticsKernel.apply(logits, labels, valid)  # type: ignore[no-untyped-call]
    return results


def cpu_likelihood(
    logits: Tensor, labels: Tensor, valid: Tensor | None, spread: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Log probability ``(N, P)`` of the labels, and of all classes, each times its number of ``spread`` ``(C,)``."""
    results: tuple[Tensor, Tensor] = _LikelihoodKernel.apply(logits, labels, valid, spread)  # type: ignore[no-untyped-call]
    return results


class _StatisticsKernel(torch.autograd.Function):
    """Keeps two numbers a pixel beside its inputs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        from ..kernels.softmax_statistics_cpu import read_statistics

        ctx.set_materialize_grads(False)  # zeros for each pixel
        log_prob, sums, kept = read_statistics(logits, labels, valid)
        ctx.save_for_backward(logits, labels, valid, kept)
        return log_prob, sums

    @staticmethod
    def backward(ctx: Any, grad_log_prob: Tensor | None, grad_sums: Tensor | None) -> tuple[Tensor, None, None]:
        from ..kernels.softmax_statistics_cpu import write_gradient

        logits, labels, valid, kept = ctx.saved_tensors
        images, classes, pixels = logits.shape
        if grad_log_prob is None:
            grad_log_prob = logits.new_zeros(()).expand(images, pixels)
        if grad_sums is None:
            grad_sums = logits.new_zeros(images, 3, classes)
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            log_prob, *sums = plain_statistics(logits, labels, valid)
            results, grads = (log_prob, torch.stack(sums, 1)), (grad_log_prob, grad_sums)
            (grad,) = torch.autograd.grad(results, logits, grads, create_graph=True)
            return grad, None, None
        return write_gradient(grad_log_prob, grad_sums, logits, labels, valid, kept), None, None


class _LikelihoodKernel(torch.autograd.Function):
    """Keeps two numbers a pixel beside its inputs; there is no gradient in the spread."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, valid: Tensor | None, spread: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        from ..kernels.softmax_likelihood_cpu import read_likelihood

        ctx.set_materialize_grads(False)
        log_prob, summed, kept = read_likelihood(logits, labels, valid, spread)
        ctx.save_for_backward(logits, labels, valid, spread, kept)
        return log_prob, summed

    @staticmethod
    def backward(ctx: Any, grad_log_prob: Tensor | None, grad_summed: Tensor | None) -> tuple[Tensor, None, None, None]:
        from ..kernels.softmax_likelihood_cpu import write_gradient

        logits, labels, valid, spread, kept = ctx.saved_tensors
        nothing = logits.new_zeros(()).expand(labels.shape)
        grads = nothing if grad_log_prob is None else grad_log_prob, nothing if grad_summed is None else grad_summed
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            results = plain_likelihood(logits, labels, valid, spread)
            (grad,) = torch.autograd.grad(results, logits, grads[: len(results)], create_graph=True)
            return grad, None, None, None
        return write_gradient(grads, logits, labels, valid, spread, kept), None, None, None

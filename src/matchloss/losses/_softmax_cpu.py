"""The softmax statistics by a kernel for the CPU, which reads the logits once forward and once backward."""

from typing import Any

import torch
from torch import Tensor

from .._core import has_numba, use_fast_path
from ._softmax_plain import plain_statistics

FEWEST_PIXELS = 32
"""The kernel does several pixels at once, and plain operators several classes."""


def can_take_pixels(logits: Tensor) -> bool:
    """Whether the kernel takes ``(N, C, P)`` logits; half precision is widened before, float64 asks for more."""
    if logits.device.type != "cpu" or logits.dtype == torch.float64:
        return False
    return logits.shape[2] >= FEWEST_PIXELS and use_fast_path() and has_numba()


def cpu_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None, with_sums: bool) -> tuple[Tensor, Tensor]:
    """Log probability ``(N, P)`` of the labels, and ``(N, 3, C)`` overlap, predicted and actual; or of no class."""
    results: tuple[Tensor, Tensor] = _SoftmaxKernel.apply(logits, labels, valid, with_sums)  # type: ignore[no-untyped-call]
    return results


class _SoftmaxKernel(torch.autograd.Function):
    """Nothing is kept but the logits: the softmax is made again, which costs less than to write and read it."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, valid: Tensor | None, with_sums: bool
    ) -> tuple[Tensor, Tensor]:
        from ..kernels.softmax_statistics_cpu import read_statistics

        ctx.set_materialize_grads(False)  # zeros for each pixel
        ctx.save_for_backward(logits, labels, valid)
        return read_statistics(logits, labels, valid, with_sums)

    @staticmethod
    def backward(ctx: Any, grad_log_prob: Tensor | None, grad_sums: Tensor | None) -> tuple[Tensor, None, None, None]:
        from ..kernels.softmax_statistics_cpu import write_gradient

        logits, labels, valid = ctx.saved_tensors
        images, classes, pixels = logits.shape
        if grad_log_prob is None:
            grad_log_prob = logits.new_zeros(()).expand(images, pixels)
        if grad_sums is None or grad_sums.shape[2] == 0:
            grad_sums = logits.new_zeros(images, 3, classes)
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            log_prob, *sums = plain_statistics(logits, labels, valid)
            results, grads = (log_prob, torch.stack(sums, 1)), (grad_log_prob, grad_sums)
            (grad,) = torch.autograd.grad(results, logits, grads, create_graph=True)
            return grad, None, None, None
        return write_gradient(grad_log_prob, grad_sums, logits, labels, valid), None, None, None

"""The softmax statistics as an operator that reads the logits once forward and once backward, on a GPU."""

from typing import Any

import torch
from torch import Tensor

from .._core import use_triton
from ._softmax_plain import plain_statistics

MOST_CLASSES = 256
"""More do not fit into the registers of a program that reads several pixels at once; they take the plain form."""


def can_take_classes(logits: Tensor) -> bool:
    """Whether a kernel takes ``(N, C, P)`` logits."""
    return logits.shape[1] <= MOST_CLASSES and use_triton(logits)


def label_log_probs(logits: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
    """The first of the statistics alone. Rows of a batch are to the kernel pixels of one image, many at once."""
    are_rows = logits.shape[2] == 1
    if are_rows:
        logits, labels, valid = logits.transpose(0, 2), labels.T, None if valid is None else valid.T
    log_prob: Tensor = label_statistics(logits, labels, valid, False)[0]
    return log_prob.T if are_rows else log_prob


@torch.library.custom_op("matchloss::softmax_statistics", mutates_args=())
def label_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None, with_sums: bool) -> tuple[Tensor, Tensor]:
    """Log probability ``(N, P)`` of the labels, and ``(N, 3, C)`` overlap, predicted and actual; or ``(N, 3, 0)``.

    A label out of range, which nobody looks for on a GPU, has the log probability NaN.
    """
    from ..kernels.softmax_statistics_cuda import read_statistics

    return read_statistics(logits.detach(), labels, valid, with_sums)


@label_statistics.register_fake
def _(logits: Tensor, labels: Tensor, valid: Tensor | None, with_sums: bool) -> tuple[Tensor, Tensor]:
    images, classes, pixels = logits.shape
    log_prob = logits.new_empty((images, pixels), dtype=torch.float32)
    return log_prob, log_prob.new_empty((images, 3, classes if with_sums else 0))


@torch.library.custom_op("matchloss::softmax_statistics_backward", mutates_args=())
def label_statistics_backward(
    grad_log_prob: Tensor, grad_sums: Tensor, logits: Tensor, labels: Tensor, valid: Tensor | None
) -> Tensor:
    """Gradient in the logits, in their dtype; the softmax is made again, since to read it would cost as much."""
    from ..kernels.softmax_statistics_cuda import write_gradient

    return write_gradient(grad_log_prob, grad_sums, logits.detach(), labels, valid)


@label_statistics_backward.register_fake
def _(grad_log_prob: Tensor, grad_sums: Tensor, logits: Tensor, labels: Tensor, valid: Tensor | None) -> Tensor:
    return torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None, bool], output: tuple[Tensor, Tensor]) -> None:
    logits, labels, valid, _ = inputs
    ctx.save_for_backward(logits, labels, valid)


def _differentiate(ctx: Any, grad_log_prob: Tensor, grad_sums: Tensor) -> tuple[Tensor, None, None, None]:
    logits, labels, valid = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
        log_prob, *sums = plain_statistics(logits, labels, valid)
        results = log_prob, torch.stack(sums, 1)[:, :, : grad_sums.shape[2]]
        (grad,) = torch.autograd.grad(results, logits, (grad_log_prob, grad_sums), create_graph=True)
        return grad, None, None, None
    return label_statistics_backward(grad_log_prob, grad_sums, logits, labels, valid), None, None, None


label_statistics.register_autograd(_differentiate, setup_context=_save)

"""One read of class logits that serves cross entropy, focal and every region loss.

:func:`softmax_statistics` has the shape that all forms share, :func:`label_log_prob` the part of it that a likelihood
loss needs. Each is the plain form of `_softmax_plain.py`, or a kernel, or plain operators with a gradient written out.
"""

from typing import Any

import torch
from torch import Tensor

from .._core import no_autocast, to_compute, use_fast_path
from ._class_inputs import ClassInputs, keep_labels
from ._softmax_cpu import can_take_likelihood, can_take_pixels, cpu_likelihood, cpu_statistics
from ._softmax_operator import can_take_classes, label_log_probs, label_statistics
from ._softmax_plain import SoftmaxStatistics, plain_likelihood, plain_log_prob, with_label_sums


def softmax_statistics(inputs: ClassInputs) -> SoftmaxStatistics:
    """Log probability of the labels, and by class the overlap, the predicted and the actual mass.

    The gradient is known in closed form, with f, A and B the gradients of the first three and y the label:

        dL/dx_k = g [k = y] + p_k (B_k - Σ_j B_j p_j - g),   g = f + A_y p_y

    so one softmax serves all losses, forward and backward, and no one-hot tensor is built.
    """
    logits, labels, valid = _parts(inputs)
    if can_take_classes(logits):
        log_prob, sums = label_statistics(logits, labels, valid, True)
        return SoftmaxStatistics(log_prob, *sums.unbind(1))
    if can_take_pixels(logits):
        log_prob, sums = cpu_statistics(to_compute(logits), labels, valid)
        return SoftmaxStatistics(log_prob, *sums.unbind(1))
    return with_label_sums(*_log_prob(logits, labels, valid), labels, valid)


def label_log_prob(inputs: ClassInputs) -> Tensor:
    """``(N, P)`` log probability of the labels, 0 where not valid, for losses without sums by class."""
    logits, labels, valid = _parts(inputs)
    if can_take_classes(logits):
        return label_log_probs(logits, labels, valid)
    if can_take_likelihood(logits):
        log_prob, _ = cpu_likelihood(to_compute(logits), labels, valid, None)
        return log_prob
    if use_fast_path() and valid is not None:  # the written gradient spares masked logits a copy, and its gradient
        log_prob, _ = _log_prob(logits, labels, valid)
        return log_prob
    (log_prob,) = plain_likelihood(logits, labels, valid)
    return log_prob


def smoothed_log_probs(inputs: ClassInputs, spread: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and summed log probabilities of all classes, each times its number of ``spread`` ``(C,)``."""
    logits, labels, valid = _parts(inputs)
    if can_take_likelihood(logits) and not spread.requires_grad:
        return cpu_likelihood(to_compute(logits), labels, valid, spread)
    log_prob, summed = plain_likelihood(logits, labels, valid, spread)
    return log_prob, summed


def _parts(inputs: ClassInputs) -> tuple[Tensor, Tensor, Tensor | None]:
    assert inputs.labels is not None
    return inputs.logits, inputs.labels, inputs.valid


def _log_prob(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """What needs the logits, without a kernel."""
    if not use_fast_path():
        return plain_log_prob(logits, labels, valid)
    log_prob, predicted = _SoftmaxStatistics.apply(to_compute(logits), keep_labels(labels, valid), valid)  # type: ignore[no-untyped-call]
    return log_prob, predicted


class _SoftmaxStatistics(torch.autograd.Function):
    """The same with the gradient written out; saves the probabilities, as torch's cross entropy does."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        probs = logits.log_softmax(1)
        log_prob = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
        probs.exp_()
        if valid is not None:
            log_prob.masked_fill_(~valid, 0.0)
        prob_sum = _sum_valid(probs, valid)
        ctx.save_for_backward(logits, probs, labels, valid)
        return log_prob, prob_sum

    @staticmethod
    def backward(ctx: Any, grad_log_prob: Tensor, grad_prob_sum: Tensor) -> tuple[Tensor, None, None]:
        logits, probs, labels, valid = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            results = plain_log_prob(logits, labels, valid)
            grads = (grad_log_prob, grad_prob_sum)
            (grad,) = torch.autograd.grad(results, logits, grads, create_graph=True)
            return grad, None, None
        if valid is not None:
            grad_log_prob = grad_log_prob.masked_fill(~valid, 0.0)
        with no_autocast(probs):
            through_sum = torch.bmm(grad_prob_sum.unsqueeze(1), probs)
        grad = grad_prob_sum.unsqueeze(2) - (through_sum + grad_log_prob.unsqueeze(1))
        grad.mul_(probs).scatter_add_(1, labels.unsqueeze(1), grad_log_prob.unsqueeze(1))
        return grad, None, None


def _sum_valid(probs: Tensor, valid: Tensor | None) -> Tensor:
    """Zero the elements that do not count, NaN or not, and sum the rest."""
    if valid is None:
        return probs.sum(2)
    if probs.device.type == "cpu":
        # Here a product runs four times as fast as a fill, and a look at the sums costs nothing; but 0 * NaN is NaN.
        prob_sum = probs.mul_(valid.unsqueeze(1)).sum(2)
        if bool(prob_sum.isfinite().all()):
            return prob_sum
    return probs.masked_fill_(~valid.unsqueeze(1), 0.0).sum(2)

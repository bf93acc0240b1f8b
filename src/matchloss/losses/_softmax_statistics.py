"""One read of class logits that serves cross entropy, focal and every region loss."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._core import no_autocast, use_fast_path
from ._class_inputs import ClassInputs


class SoftmaxStatistics(NamedTuple):
    """All that likelihood and region losses need of the logits; both fields are differentiable."""

    log_prob: Tensor
    """``(N, P)`` log probability of the labelled class, 0 where not valid."""
    prob_sum: Tensor
    """``(N, C)`` sum over the valid elements of each class's probability."""


def softmax_statistics(inputs: ClassInputs) -> SoftmaxStatistics:
    """Log probability of the labels and summed probability of the classes.

    The gradient is known in closed form, with f and B the gradients of the two results and y the label:

        dL/dx_k = f ([k = y] - p_k) + p_k (B_k - Σ_j B_j p_j)

    so one softmax serves all losses, forward and backward, and no one-hot tensor is built.
    """
    assert inputs.labels is not None
    if use_fast_path():
        log_prob, prob_sum = _SoftmaxStatistics.apply(inputs.logits, inputs.labels, inputs.valid)  # type: ignore[no-untyped-call]
        return SoftmaxStatistics(log_prob, prob_sum)
    return _plain(inputs.logits, inputs.labels, inputs.valid)


def _plain(logits: Tensor, labels: Tensor, valid: Tensor | None) -> SoftmaxStatistics:
    """The specification: ordinary operators, differentiable any number of times."""
    if valid is not None:
        logits = torch.where(valid.unsqueeze(1), logits, 0.0)
    log_probs = logits.log_softmax(1)
    log_prob = log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)
    probs = log_probs.exp()
    if valid is not None:
        log_prob = torch.where(valid, log_prob, 0.0)
        probs = torch.where(valid.unsqueeze(1), probs, 0.0)
    return SoftmaxStatistics(log_prob, probs.sum(2))


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
            results = _plain(logits, labels, valid)
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

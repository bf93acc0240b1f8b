"""The focal term of one sigmoid logit, with its gradient written out."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import use_fast_path


def focal_term(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """Elementwise ``α_t u^γ c``: u the probability missed, c the binary cross entropy, t anywhere in [0, 1].

    u = p (1 - t) + q t,   q = 1 - p,   d(u^γ c)/dx = u^γ (γ (1 - 2t) (p q / u) c + p - t)
    """
    if use_fast_path() and not targets.requires_grad:
        loss: Tensor = _FocalTerm.apply(logits, targets, alpha, gamma)  # type: ignore[no-untyped-call]
        return loss
    return _plain(logits, targets, alpha, gamma)


def _plain(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """The specification: ordinary operators, differentiable any number of times."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if gamma > 0:
        loss = loss * _missed(logits.sigmoid(), targets, logits) ** gamma
    return loss if alpha is None else loss * _balance(targets, alpha)


def _missed(probs: Tensor, targets: Tensor, logits: Tensor) -> Tensor:
    """Probability missed, 1 - p_t; never zero, since the gradient of a power below 1 is infinite there."""
    # sigmoid(-x), not 1 - sigmoid(x): the subtraction has no digits left beyond x = 17.
    missed = probs * (1 - targets) + (-logits).sigmoid() * targets
    return missed.clamp(min=torch.finfo(missed.dtype).tiny)


def _balance(targets: Tensor, alpha: float) -> Tensor:
    """``α_t``: alpha for positives, 1 - alpha for negatives."""
    return targets * (2 * alpha - 1) + (1 - alpha)


class _FocalTerm(torch.autograd.Function):
    """Saves the inputs alone and works in place; autograd would keep half a dozen tensors of the logits' size."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.alpha, ctx.gamma = alpha, gamma
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        if gamma > 0:
            loss.mul_(_missed(logits.sigmoid(), targets, logits).pow_(gamma))
        return loss if alpha is None else loss.mul_(_balance(targets, alpha))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets = ctx.saved_tensors
        alpha, gamma = ctx.alpha, ctx.gamma
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            (grad,) = torch.autograd.grad(_plain(logits, targets, alpha, gamma), logits, grad, create_graph=True)
            return grad, None, None, None
        probs = logits.sigmoid()
        slope = probs - targets
        if gamma > 0:
            missed = _missed(probs, targets, logits)
            ratio = probs.mul_((-logits).sigmoid()).div_(missed)
            ratio.mul_(F.binary_cross_entropy_with_logits(logits, targets, reduction="none"))
            slope.addcmul_(ratio, 1 - 2 * targets, value=gamma).mul_(missed.pow_(gamma))
        if alpha is not None:
            slope.mul_(_balance(targets, alpha))
        return slope.mul_(grad), None, None, None

"""The focal term of one sigmoid logit, with its gradient written out."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import has_numba, use_fast_path


def focal_term(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """Elementwise ``α_t u^γ c``: u the probability missed, c the binary cross entropy, t anywhere in [0, 1].

    u = p (1 - t) + q t,   q = 1 - p,   d(u^γ c)/dx = u^γ (γ (1 - 2t) (p q / u) c + p - t)
    """
    if has_focal_kernel(logits) and not targets.requires_grad:
        loss: Tensor = _FocalKernel.apply(logits, targets, alpha, gamma)  # type: ignore[no-untyped-call]
        return loss
    if use_fast_path() and logits.requires_grad and not targets.requires_grad:
        loss = _FocalTerm.apply(logits, targets, alpha, gamma)  # type: ignore[no-untyped-call]
        return loss
    return plain_focal_term(logits, targets, alpha, gamma)


def has_focal_kernel(logits: Tensor) -> bool:
    """Whether the kernels for the CPU take logits, widened already; they compute in float32."""
    return logits.device.type == "cpu" and logits.dtype == torch.float32 and use_fast_path() and has_numba()


def plain_focal_term(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """The specification: ordinary operators, differentiable any number of times."""
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if gamma > 0:
        # sigmoid(-x), not 1 - sigmoid(x): the subtraction has no digits left beyond x = 17. Never zero, since the
        # gradient of a power below 1 is infinite there.
        missed = torch.lerp(logits.sigmoid(), (-logits).sigmoid(), targets)
        loss = loss * missed.clamp(min=torch.finfo(missed.dtype).tiny) ** gamma
    return loss if alpha is None else loss * balance(targets, alpha)


def balance(targets: Tensor, alpha: float) -> Tensor:
    """``α_t``: alpha for positives, 1 - alpha for negatives."""
    return targets * (2 * alpha - 1) + (1 - alpha)


class _FocalTerm(torch.autograd.Function):
    """The gradient is made beside the value, from the same sigmoid; autograd would keep half a dozen tensors."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
        ctx.alpha, ctx.gamma = alpha, gamma
        probs = logits.sigmoid()
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        slope = probs - targets
        if gamma > 0:
            others = (-logits).sigmoid()
            missed = torch.lerp(probs, others, targets).clamp_(min=torch.finfo(probs.dtype).tiny)
            ratio = others.mul_(probs).div_(missed).mul_(loss)
            power = missed.square_() if gamma == 2 else missed.pow_(gamma)
            slope.addcmul_(ratio, 1 - 2 * targets, value=gamma).mul_(power)
            loss.mul_(power)
        if alpha is not None:
            factor = balance(targets, alpha)
            loss.mul_(factor)
            slope.mul_(factor)
        ctx.save_for_backward(logits, targets, slope)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        logits, targets, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            loss = plain_focal_term(logits, targets, ctx.alpha, ctx.gamma)
            (grad,) = torch.autograd.grad(loss, logits, grad, create_graph=True)
            return grad, None, None, None
        return slope * grad, None, None, None


class _FocalKernel(torch.autograd.Function):
    """Each way reads logits and targets once; beside them nothing is kept."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
        from ..kernels.focal_cpu import focal_elements

        ctx.alpha, ctx.gamma = alpha, gamma
        ctx.save_for_backward(logits, targets)
        return focal_elements(logits, targets, alpha, gamma)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        from ..kernels.focal_cpu import focal_element_slopes

        logits, targets = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            loss = plain_focal_term(logits, targets, ctx.alpha, ctx.gamma)
            (grad,) = torch.autograd.grad(loss, logits, grad, create_graph=True)
            return grad, None, None, None
        if grad.numel() > 0 and not any(grad.stride()):  # of a sum, one number for all
            factor = float(grad[(0,) * grad.ndim])
            return focal_element_slopes(logits, targets, factor, ctx.alpha, ctx.gamma), None, None, None
        slopes = focal_element_slopes(logits, targets, 1.0, ctx.alpha, ctx.gamma)
        return slopes.mul_(grad), None, None, None

"""Balanced L1: :func:`balanced_l1_loss`."""

import math
from typing import Any

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss, use_fast_path
from ._pairs import read_pairs


def balanced_l1_loss(
    predictions: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 1.5,
    beta: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Smooth L1 whose gradient rises faster near the target, so that the accurate boxes count for more.

        dL/du = α log(b u + 1) for u < 1,   γ otherwise,   u = |x - t| / β,   b = e^(γ/α) - 1
        L = β (α (u + 1/b) log(b u + 1) - α u) for u < 1,   β (γ u + γ/b - α) otherwise

    For box deltas with many nearly right boxes, whose small gradients drown in those of the outliers under
    :func:`smooth_l1_loss`. A smaller α lifts the near ones more; γ is the slope of the tails.

    Shapes:
        predictions, targets: (*), the same shape, any unit.
        returns: () or, with reduction "none", (*), float32 (float64 for float64).

    Args:
        alpha: how flat the gradient is near the target, > 0; gamma / alpha at most 80.
        gamma: slope beyond β, > 0.
        beta: distance at which the slope γ is reached, > 0.
        mask: (*) bool, broadcastable, False = leave out.
        weights: (*) factor per element, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), options out of range.

    Reference:
        Pang et al. 2019, arXiv:1904.02701, section 3.3, with β = 1.

    Differs:
        Same values as mmdetection for β = 1. For other β mmdetection divides by it in one place only: the slope at
        the target is then α/β - α instead of 0, and the loss negative for β > 1; here u alone is scaled.

    Example:
        A perfect prediction, and one at distance 3: 3 * 1.5 + 1.5 / (e³ - 1) - 0.5 = 4.0786.

        >>> balanced_l1_loss(torch.tensor([2.0, 5.0]), torch.tensor([2.0, 2.0]), reduction="none")
        tensor([0.0000, 4.0786])
    """
    for name, value in (("alpha", alpha), ("gamma", gamma), ("beta", beta)):
        check_positive("balanced_l1_loss", name, value)
    if gamma > 80 * alpha:  # b has to fit into float32
        raise ValueError(f"balanced_l1_loss: expected gamma / alpha <= 80, got {gamma} / {alpha}")
    pairs = read_pairs("balanced_l1_loss", predictions, targets, mask=mask, weights=weights)
    form = _BalancedL1.apply if use_fast_path() else _balanced_l1
    loss = form(pairs.difference, alpha, gamma, beta)
    return reduce_loss("balanced_l1_loss", loss, reduction, valid=pairs.valid, weights=pairs.weights)


def _balanced_l1(difference: Tensor, alpha: float, gamma: float, beta: float) -> Tensor:
    b = math.expm1(gamma / alpha)
    distance = difference.abs() / beta
    near = distance.clamp(max=1)  # beyond it the loss goes on as a straight line
    curve = alpha * ((near + 1 / b) * (b * near).log1p() - near)
    return beta * (curve + gamma * (distance - near))


class _BalancedL1(torch.autograd.Function):
    """The slope is a part of the value; autograd would keep nine tensors to find it again."""

    @staticmethod
    def forward(ctx: Any, difference: Tensor, alpha: float, gamma: float, beta: float) -> Tensor:
        b = math.expm1(gamma / alpha)
        distance = difference.abs().div_(beta)
        near = distance.clamp(max=1)
        slope = near.mul(b).log1p_().mul_(alpha)
        loss = near.add(1 / b).mul_(slope).sub_(near, alpha=alpha)
        loss.add_(distance.sub_(near), alpha=gamma).mul_(beta)
        ctx.save_for_backward(difference, slope.copysign_(difference))
        ctx.options = alpha, gamma, beta
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        difference, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            (grad,) = torch.autograd.grad(_balanced_l1(difference, *ctx.options), difference, grad, create_graph=True)
            return grad, None, None, None
        return grad * slope, None, None, None


class BalancedL1Loss(LossModule):
    """Module form of :func:`balanced_l1_loss`."""

    def __init__(
        self, *, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma
        self.beta = beta
        self.reduction: Reduction = reduction

    def forward(
        self, predictions: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return balanced_l1_loss(
            predictions,
            targets,
            alpha=self.alpha,
            gamma=self.gamma,
            beta=self.beta,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

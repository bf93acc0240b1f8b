"""The element of the focal family: a binary cross entropy, and a power of a probability that turns it down."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ._focal_term import plain_focal_term


class Focus(NamedTuple):
    """One loss of the family; p = sigmoid(x), q = sigmoid(-x) and c = softplus(x) - x t, the cross entropy.

    kind         positive                             otherwise
    focal        α_t u^γ c,  u = p (1 - t) + q t      the same
    quality      |t q - (1 - t) p|^γ c                the same
    varifocal    t c                                  α p^γ c
    matched      c                                    α p^γ c
    """

    kind: Literal["focal", "quality", "varifocal", "matched"]
    alpha: float | None
    """None for a factor of 1, on both sides."""
    gamma: float
    detach: bool = False
    """Whether α p^γ is a constant for the gradient."""


def plain_term(logits: Tensor, targets: Tensor, focus: Focus, positive: Tensor | None = None) -> Tensor:
    """The specification: ordinary operators, differentiable any number of times; two kinds ask for the positives."""
    if focus.kind == "focal":
        return plain_focal_term(logits, targets, focus.alpha, focus.gamma)
    loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if focus.kind == "quality":
        return loss * _distance(logits, targets) ** focus.gamma if focus.gamma > 0 else loss
    assert positive is not None
    # Never zero, since the gradient of a power below 1 is infinite there.
    probs = (logits.detach() if focus.detach else logits).sigmoid().clamp(min=torch.finfo(logits.dtype).tiny)
    negative = probs**focus.gamma * (1.0 if focus.alpha is None else focus.alpha)
    return loss * torch.where(positive, targets if focus.kind == "varifocal" else 1.0, negative)


def _distance(logits: Tensor, targets: Tensor) -> Tensor:
    """``|t - p|``, never zero, since the gradient of a power below 1 is infinite there."""
    # t q - (1 - t) p, not t - p: near p = t = 1 the subtraction has no digits left.
    difference = targets * (-logits).sigmoid() - (1 - targets) * logits.sigmoid()
    return difference.abs().clamp(min=torch.finfo(difference.dtype).tiny)

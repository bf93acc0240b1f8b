"""Focal loss that treats negatives harder than positives: :func:`asymmetric_loss`."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss
from ._binary_inputs import read_binary_inputs


def asymmetric_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float | None = 0.05,
    detach: bool = False,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal loss with an exponent for each kind, in which easy negatives do not count at all.

        L = -t (1 - p)^γ₊ log p - (1 - t) m^γ₋ log(1 - m),   m = max(p - clip, 0),   p = sigmoid(logits)

    For images with many labels, each rare: negatives are plenty and some are labels somebody forgot. The shift `clip`
    zeroes those below it and bounds the loss of the very hard ones, where :func:`sigmoid_focal_loss` keeps both and
    turns down the rare positives just as much.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype.
        targets: (*) floats in [0, 1], or (*) integer labels for (*, C) logits, -1 = background.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        gamma_negative: focusing exponent of the negatives, >= 0.
        gamma_positive: focusing exponent of the positives, >= 0.
        clip: taken off the probability of negatives, in (0, 1); None for no shift.
        detach: whether the focusing weights are constants for the gradient.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, a negative exponent, clip outside (0, 1), on the CPU a label out of range.

    Reference:
        Ridnik et al. 2021, arXiv:2009.14119, section 2.

    Differs:
        The authors' code and timm clamp p at 1e-8 before the log, so positives below a logit of -18 have no gradient;
        here they have. The authors' code, and timm's for long, sum; so does `reduction="sum"`. To hold the weights
        constant the authors' code switches gradients off and on for the whole process, on even under ``no_grad``;
        `detach` touches nothing else. Soft targets mix the two terms here; there they also mix the exponents.

    Example:
        A positive at p = 1/2: (1/2) log 2 = 0.3466. A negative there: m = 0.45, 0.45⁴ (-log 0.55) = 0.0245. A negative
        at p = 0.018 is easy enough to be dropped.

        >>> asymmetric_loss(torch.tensor([0.0, 0.0, -4.0]), torch.tensor([1.0, 0.0, 0.0]), reduction="none")
        tensor([0.3466, 0.0245, 0.0000])
    """
    check_positive("asymmetric_loss", "gamma_negative", gamma_negative, or_zero=True)
    check_positive("asymmetric_loss", "gamma_positive", gamma_positive, or_zero=True)
    if clip is not None and not 0 < clip < 1:
        raise ValueError(f"asymmetric_loss: expected clip in (0, 1) or None, got {clip}")
    inputs = read_binary_inputs(
        "asymmetric_loss", logits, targets, ignore_index=ignore_index, mask=mask, weights=weights
    )
    positive = -F.logsigmoid(inputs.logits) * _focus((-inputs.logits).sigmoid(), gamma_positive, detach)
    loss = inputs.targets * positive + (1 - inputs.targets) * _negative(inputs.logits, gamma_negative, clip, detach)
    return reduce_loss("asymmetric_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _negative(logits: Tensor, gamma: float, clip: float | None, detach: bool) -> Tensor:
    """``-m^γ log(1 - m)``."""
    if clip is None:
        return -F.logsigmoid(-logits) * _focus(logits.sigmoid(), gamma, detach)
    # 1 - m is q + clip with q = 1 - p: never 0, so no epsilon is needed in the log.
    log_rest = ((-logits).sigmoid() + clip).clamp(max=1).log()
    return -log_rest * _focus(logits.sigmoid() - clip, gamma, detach)


def _focus(missed: Tensor, gamma: float, detach: bool) -> Tensor:
    """``missed^γ``, nothing below zero."""
    missed = missed.detach() if detach else missed
    # Never zero, since the gradient of a power below 1 is infinite there.
    return missed.clamp(min=torch.finfo(missed.dtype).tiny) ** gamma


class AsymmetricLoss(LossModule):
    """Module form of :func:`asymmetric_loss`."""

    def __init__(
        self,
        *,
        gamma_negative: float = 4.0,
        gamma_positive: float = 1.0,
        clip: float | None = 0.05,
        detach: bool = False,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.gamma_negative = gamma_negative
        self.gamma_positive = gamma_positive
        self.clip = clip
        self.detach = detach
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return asymmetric_loss(
            logits,
            targets,
            gamma_negative=self.gamma_negative,
            gamma_positive=self.gamma_positive,
            clip=self.clip,
            detach=self.detach,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

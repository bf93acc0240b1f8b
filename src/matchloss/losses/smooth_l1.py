"""Smooth L1: :func:`smooth_l1_loss`."""

import torch.nn.functional as F
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss
from ._pairs import read_pairs


def smooth_l1_loss(
    predictions: Tensor,
    targets: Tensor,
    *,
    beta: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Absolute difference, rounded off to a parabola within β of the target.

        L = d² / (2β) for d < β,   d - β/2 otherwise,   d = |x - t|

    For box deltas: outliers pull with a gradient of 1, and near the target the gradient fades, so that training ends
    quietly. β is in the unit of x: 1 for normalised deltas, 1/9 in many detectors; β = 0 is :func:`l1_loss`. Huber's
    loss with δ = β is β times this one: its tails get steeper with δ, here they keep the slope 1.

    Shapes:
        predictions, targets: (*), the same shape, any unit.
        returns: () or, with reduction "none", (*), float32 (float64 for float64).

    Args:
        beta: distance at which the parabola meets the line, >= 0.
        mask: (*) bool, broadcastable, False = leave out.
        weights: (*) factor per element, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), a negative beta.

    Reference:
        Girshick 2015, arXiv:1504.08083, eq. 3, with β = 1.

    Differs:
        Equal to ``torch.nn.functional.smooth_l1_loss``, which broadcasts with a warning and has no mask. fvcore
        switches to L1 for β < 1e-5; here every β > 0 is the formula, and β = 0 is exactly L1.
        ``torch.nn.functional.huber_loss(delta=d)`` is ``d * smooth_l1_loss(beta=d)``.

    Example:
        At distance 1 and 3 from the target: 1/2 and 3 - 1/2.

        >>> smooth_l1_loss(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]), reduction="none")
        tensor([0.5000, 2.5000])
    """
    check_positive("smooth_l1_loss", "beta", beta, or_zero=True)
    pairs = read_pairs("smooth_l1_loss", predictions, targets, mask=mask, weights=weights)
    # Torch's own operator; in others the two forms want care: d² / β overflows where it is not taken.
    loss = F.smooth_l1_loss(pairs.predictions, pairs.targets, beta=beta, reduction="none")
    return reduce_loss("smooth_l1_loss", loss, reduction, valid=pairs.valid, weights=pairs.weights)


class SmoothL1Loss(LossModule):
    """Module form of :func:`smooth_l1_loss`."""

    def __init__(self, *, beta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.beta = beta
        self.reduction: Reduction = reduction

    def forward(
        self, predictions: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return smooth_l1_loss(
            predictions, targets, beta=self.beta, mask=mask, weights=weights, reduction=self.reduction
        )

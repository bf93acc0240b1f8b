"""Squared error: :func:`l2_loss`."""

import torch.nn.functional as F
from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ._pairs import read_pairs


def l2_loss(
    predictions: Tensor,
    targets: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared difference of two numbers, without a factor 1/2.

        L = (x - t)²

    Its gradient, 2 (x - t), grows with the distance, so a single outlier can drive the step; :func:`smooth_l1_loss`
    bounds it, :func:`l1_loss` makes it one size. Its minimum over many targets is their mean, not their median.

    Shapes:
        predictions, targets: (*), the same shape, any unit.
        returns: () or, with reduction "none", (*), float32 (float64 for float64).

    Args:
        mask: (*) bool, broadcastable, False = leave out.
        weights: (*) factor per element, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence).

    Reference:
        Bishop 2006, Pattern Recognition and Machine Learning, eq. 1.2, there with a factor 1/2.

    Differs:
        No 1/2, as ``torch.nn.functional.mse_loss`` and keras; optax' ``l2_loss`` has the 1/2.
        ``torch.nn.functional.mse_loss`` broadcasts with a warning and has no mask.

    Example:
        >>> l2_loss(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
        tensor(5.)
    """
    pairs = read_pairs("l2_loss", predictions, targets, mask=mask, weights=weights)
    loss = F.mse_loss(pairs.predictions, pairs.targets, reduction="none")  # one pass, and none for the difference
    return reduce_loss("l2_loss", loss, reduction, valid=pairs.valid, weights=pairs.weights)


class L2Loss(LossModule):
    """Module form of :func:`l2_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, predictions: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return l2_loss(predictions, targets, mask=mask, weights=weights, reduction=self.reduction)

"""Absolute error: :func:`l1_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ._pairs import read_pairs


def l1_loss(
    predictions: Tensor,
    targets: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Absolute difference of two numbers.

        L = |x - t|

    The box term of DETR, on centres and sizes. Its gradient has one size however near the target is, so training ends
    noisily; :func:`smooth_l1_loss` calms the end, :func:`giou_loss` measures the box as a whole.

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
        Carion et al. 2020, arXiv:2005.12872, eq. 9, for boxes.

    Differs:
        ``torch.nn.functional.l1_loss`` broadcasts with a warning and has no mask.

    Example:
        >>> l1_loss(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
        tensor(2.)
    """
    pairs = read_pairs("l1_loss", predictions, targets, mask=mask, weights=weights)
    return reduce_loss("l1_loss", pairs.difference.abs(), reduction, valid=pairs.valid, weights=pairs.weights)


class L1Loss(LossModule):
    """Module form of :func:`l1_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, predictions: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return l1_loss(predictions, targets, mask=mask, weights=weights, reduction=self.reduction)

"""Efficient IoU loss that trusts good boxes more: :func:`focal_eiou_loss`."""

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss
from ..geometry.overlaps import pair_eiou, pair_iou
from ._box_pairs import read_boxes


def focal_eiou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    gamma: float = 0.5,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Efficient IoU loss weighed by a power of the IoU.

        L = IoU^γ EIoU,   EIoU = eiou_loss(boxes, target_boxes)

    For assigners that give a target many poor boxes, which would drown the good ones. Against the name's habit it is
    the *easy* boxes that count more. A box without any overlap has weight 0 and learns nothing: leave its first steps
    to :func:`eiou_loss`, or see to an overlap by the assigner.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        gamma: exponent of the weight, >= 0; 0 is :func:`eiou_loss`.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, a negative
            gamma.

    Reference:
        Zhang et al. 2021, arXiv:2101.08158.

    Differs:
        The weight is a constant for the gradient. The paper calls it a weight and does not say; with a gradient through
        it, no overlap would be a minimum, to which boxes of little overlap are drawn by an unbounded slope. The many
        copies in YOLO forks detach it in some places and not in others. `mean` divides by the number of boxes, not by
        the sum of the weights.

    Example:
        A square of side 2 in the middle of a target of 4 x 2: IoU 1/2 and EIoU 3/4, as at :func:`eiou_loss`.

        >>> focal_eiou_loss(torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 4.0, 2.0]), gamma=1.0)
        tensor(0.3750)
    """
    check_positive("focal_eiou_loss", "gamma", gamma, or_zero=True)
    inputs = read_boxes("focal_eiou_loss", boxes, target_boxes, mask=mask, weights=weights)
    with torch.no_grad():
        trust = pair_iou(inputs.pair) ** gamma
    loss = trust * (1 - pair_eiou(inputs.pair))
    return reduce_loss("focal_eiou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class FocalEIoULoss(LossModule):
    """Module form of :func:`focal_eiou_loss`."""

    def __init__(self, *, gamma: float = 0.5, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.gamma = gamma
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return focal_eiou_loss(
            boxes, target_boxes, gamma=self.gamma, mask=mask, weights=weights, reduction=self.reduction
        )

"""Generalised IoU loss: :func:`giou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ._box_measures import measure_boxes


def giou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus the share of the enclosing box that neither box fills.

        L = 1 - IoU + (C - U) / C,   U = area of the union, C = area of the smallest box around both

    The box term of DETR and many others: unlike :func:`iou_loss` it also pulls boxes that do not overlap, by making
    them grow towards their target. From 0 to 2. Where one box lies inside the other it is the IoU loss, and cannot tell
    places apart; :func:`diou_loss` can, by the centres.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates.

    Reference:
        Rezatofighi et al. 2019, arXiv:1902.09630.

    Differs:
        torchvision, fvcore, mmdetection and Ultralytics guard areas with a fixed 1e-7 (mmdetection's module 1e-6), so
        that identical boxes of side 1e-4 have a loss of 0.9; here it is 0 at every scale, and for a box without area
        too (torchvision 1). fvcore stops at inverted boxes, with a look at the data that a GPU has to wait for.
        The mean of nothing is 0; mmdetection's is NaN.

    Example:
        Two squares of side 2 with a gap of 2 between: IoU 0, and a third of the enclosing 6 x 2 is empty.

        >>> giou_loss(torch.tensor([4.0, 0.0, 6.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0]))
        tensor(1.3333)
    """
    giou, valid, weights = measure_boxes("giou_loss", "giou", boxes, target_boxes, mask=mask, weights=weights)
    return reduce_loss("giou_loss", 1 - giou, reduction, valid=valid, weights=weights)


class GIoULoss(LossModule):
    """Module form of :func:`giou_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return giou_loss(boxes, target_boxes, mask=mask, weights=weights, reduction=self.reduction)

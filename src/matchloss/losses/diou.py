"""Distance IoU loss: :func:`diou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ._box_measures import measure_boxes


def diou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus the distance of the centres.

        L = 1 - IoU + ρ² / c²,   ρ = distance of the centres, c = diagonal of the smallest box around both

    Draws the centres together, overlapping or not, where :func:`giou_loss` makes a box grow, and tells apart places
    inside a target that the IoU cannot. Width and height are left to the IoU; :func:`ciou_loss` and :func:`eiou_loss`
    look at them too. From 0 to 2.

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
        Zheng et al. 2020, arXiv:1911.08287.

    Differs:
        torchvision, mmdetection and Ultralytics add a fixed 1e-7 (mmdetection's module 1e-6) to union and c²; here
        identical boxes have loss 0 at every scale, boxes without area included.

    Example:
        Two squares of side 2 with a gap of 2 between: IoU 0, ρ² = 16, c² = 36 + 4.

        >>> diou_loss(torch.tensor([4.0, 0.0, 6.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0]))
        tensor(1.4000)
    """
    diou, valid, weights = measure_boxes("diou_loss", "diou", boxes, target_boxes, mask=mask, weights=weights)
    return reduce_loss("diou_loss", 1 - diou, reduction, valid=valid, weights=weights)


class DIoULoss(LossModule):
    """Module form of :func:`diou_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return diou_loss(boxes, target_boxes, mask=mask, weights=weights, reduction=self.reduction)

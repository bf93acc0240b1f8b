"""Efficient IoU loss: :func:`eiou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ._box_measures import measure_boxes


def eiou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus the distance of the centres and the differences of width and of height.

        L = 1 - IoU + ρ² / c² + (w - w_t)² / C_w² + (h - h_t)² / C_h²

    C_w and C_h are the sides of the smallest box around both; :func:`diou_loss` explains ρ and c. In place of the
    aspect ratio of :func:`ciou_loss`, which is the same for all boxes of one shape, it compares the sides themselves.
    Its pull on poor boxes is strong; :func:`focal_eiou_loss` holds it back.

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
        Zhang et al. 2021, arXiv:2101.08158.

    Differs:
        mmdetection's EIoU is another loss of that name, Extended IoU (Peng and Yu 2021): signed overlaps and a
        smoothed tail. Others add a fixed 1e-7 to every denominator; here identical boxes have loss 0 at every scale.

    Example:
        A square of side 2 in the middle of a target of 4 x 2: IoU 1/2, ρ = 0, and the widths differ by 2 of 4.

        >>> eiou_loss(torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 4.0, 2.0]))
        tensor(0.7500)
    """
    eiou, valid, weights = measure_boxes("eiou_loss", "eiou", boxes, target_boxes, mask=mask, weights=weights)
    return reduce_loss("eiou_loss", 1 - eiou, reduction, valid=valid, weights=weights)


class EIoULoss(LossModule):
    """Module form of :func:`eiou_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return eiou_loss(boxes, target_boxes, mask=mask, weights=weights, reduction=self.reduction)

"""Generalised IoU of rotated boxes as a loss: :func:`rotated_giou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ..geometry import rotated_box_giou
from ._rotated_pairs import read_rotated


def rotated_giou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU of rotated boxes, plus the share of their convex hull that neither fills.

        L = 1 - IoU + (C - U) / C,   U = area of the union, C = area of the convex hull of both boxes

    Unlike :func:`rotated_iou_loss` it also pulls boxes that do not overlap. From 0 to 2. Boxes inside their targets are
    all alike to it, and so are some angles; :func:`rotated_diou_loss` adds the place, the Gaussian losses both.

    Shapes:
        boxes, target_boxes: (..., 5) as (cx, cy, w, h, a), the same shape, any one unit;
            the angle in radians, clockwise on the screen; a box of negative size counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without five numbers.

    Reference:
        Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1, on rotated boxes.

    Differs:
        C is the paper's smallest convex set. Rotated_IoU takes the upright or a rotated rectangle around both, which is
        larger. For upright boxes, too, the hull is smaller than the enclosing box of :func:`giou_loss`, and the loss
        at most that one; it is equal where the boxes stand side by side.

    Example:
        Two squares of side 2 with a gap of 2 between: IoU 0, and a third of the hull of 6 x 2 is empty.

        >>> rotated_giou_loss(torch.tensor([5.0, 1.0, 2.0, 2.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 2.0, 0.0]))
        tensor(1.3333)
    """
    inputs = read_rotated("rotated_giou_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - rotated_box_giou(inputs.rows, inputs.target_rows)
    return reduce_loss("rotated_giou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class RotatedGIoULoss(LossModule):
    """Module form of :func:`rotated_giou_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return rotated_giou_loss(boxes, target_boxes, mask=mask, weights=weights, reduction=self.reduction)

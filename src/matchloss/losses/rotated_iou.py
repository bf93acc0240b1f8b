"""Intersection over union of rotated boxes as a loss: :func:`rotated_iou_loss`."""

from typing import Literal

from torch import Tensor

from .._core import LossModule, Reduction, check_option, reduce_loss
from ..geometry import rotated_box_iou
from ._rotated_pairs import read_rotated

FLOOR = 1e-3
"""IoU at which the logarithm goes over into its tangent, so that slopes stay within what float16 can hold."""

Mode = Literal["linear", "log"]


def rotated_iou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mode: Mode = "linear",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the exact intersection over union of two rotated boxes, or minus its logarithm.

        L = 1 - IoU   or, with mode "log",   L = -log IoU,   IoU = area of B ∩ T / area of B ∪ T

    What the evaluation measures, with place, sides and angle in one number: an angle counts as much as the box is long.
    Boxes that do not overlap have no gradient: take it where the assigner sees to an overlap, else
    :func:`rotated_giou_loss` or one of the Gaussian losses, such as :func:`probiou_loss`. On upright boxes it is
    :func:`iou_loss`.

    Shapes:
        boxes, target_boxes: (..., 5) as (cx, cy, w, h, a), the same shape, any one unit;
            the angle in radians, clockwise on the screen; a box of negative size counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mode: "linear" or "log".
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without five numbers, another mode.

    Reference:
        Zhou et al. 2019, arXiv:1908.03851, for the exact overlap; Yu et al. 2016, arXiv:1608.01471, the logarithm.

    Differs:
        Below an IoU of 1e-3 the logarithm goes on as its tangent, up to 7.91 at no overlap, as in :func:`iou_loss`.
        Code that collects the corners of the overlap and sorts them finds 0.58 between boxes that are all but equal
        (detectron2) or counts shared sides twice; here each box is cut by the sides of the other. Half precision is
        computed in float32: areas of 260 x 260 pixels overflow float16.

    Example:
        A square, and the same turned by an eighth: IoU = 1/√2.

        >>> box, target = torch.tensor([0.0, 0.0, 2.0, 2.0, torch.pi / 4]), torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
        >>> rotated_iou_loss(box, target)
        tensor(0.2929)
    """
    check_option("rotated_iou_loss", "mode", mode, ("linear", "log"))
    inputs = read_rotated("rotated_iou_loss", boxes, target_boxes, mask=mask, weights=weights)
    iou = rotated_box_iou(inputs.rows, inputs.target_rows)
    loss = 1 - iou if mode == "linear" else _minus_log(iou)
    return reduce_loss("rotated_iou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _minus_log(iou: Tensor) -> Tensor:
    above = iou.clamp(min=FLOOR)
    return (above - iou) / FLOOR - above.log()


class RotatedIoULoss(LossModule):
    """Module form of :func:`rotated_iou_loss`."""

    def __init__(self, *, mode: Mode = "linear", reduction: Reduction = "mean") -> None:
        super().__init__()
        self.mode: Mode = mode
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return rotated_iou_loss(
            boxes,
            target_boxes,
            mode=self.mode,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

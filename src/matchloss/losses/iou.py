"""Intersection over union as a loss: :func:`iou_loss`."""

from typing import Literal

from torch import Tensor

from .._core import LossModule, Reduction, check_option, reduce_loss
from ._box_measures import measure_boxes

FLOOR = 1e-3
"""IoU at which the logarithm goes over into its tangent, so that slopes stay within what float16 can hold."""

Mode = Literal["linear", "log"]


def iou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mode: Mode = "linear",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the intersection over union of two boxes, or minus its logarithm.

        L = 1 - IoU   or, with mode "log",   L = -log IoU,   IoU = area of B ∩ T / area of B ∪ T

    Scale does not matter to it, as it does to :func:`l1_loss`. Boxes that do not overlap have no gradient: take it
    where the assigner sees to an overlap (FCOS, TAL), else :func:`giou_loss` or :func:`diou_loss`. The logarithm pulls
    harder the worse the overlap is.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mode: "linear" or "log".
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, another mode.

    Reference:
        Yu et al. 2016, arXiv:1608.01471 (UnitBox), the logarithm.

    Differs:
        Below an IoU of 1e-3 the logarithm goes on as its tangent, up to 7.91 at no overlap. UnitBox leaves log 0 open;
        mmdetection, whose default is "log", cuts at 1e-6 (13.8), below which a tiny box inside a big target has no
        gradient, and above which a thin one has a slope of 1e6. Nothing is added to an area: mmdetection and
        Ultralytics find an IoU below 0.1 between identical boxes of side 1e-4. A box without area has IoU 1 with
        itself.

    Example:
        Two squares of side 2, shifted by half: 2 of 6 squares are shared.

        >>> box, target = torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0])
        >>> iou_loss(box, target)
        tensor(0.6667)
        >>> iou_loss(box, target, mode="log")
        tensor(1.0986)
    """
    check_option("iou_loss", "mode", mode, ("linear", "log"))
    iou, valid, weights = measure_boxes("iou_loss", "iou", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - iou if mode == "linear" else _minus_log(iou)
    return reduce_loss("iou_loss", loss, reduction, valid=valid, weights=weights)


def _minus_log(iou: Tensor) -> Tensor:
    above = iou.clamp(min=FLOOR)
    return (above - iou) / FLOOR - above.log()


class IoULoss(LossModule):
    """Module form of :func:`iou_loss`."""

    def __init__(self, *, mode: Mode = "linear", reduction: Reduction = "mean") -> None:
        super().__init__()
        self.mode: Mode = mode
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return iou_loss(boxes, target_boxes, mode=self.mode, mask=mask, weights=weights, reduction=self.reduction)

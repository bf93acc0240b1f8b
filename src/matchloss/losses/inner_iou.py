"""IoU losses that compare shrunken or grown boxes: :func:`inner_iou_loss`."""

from typing import Literal

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_option, check_positive, reduce_loss
from ..geometry import BoxPair
from ..geometry.overlaps import Axis, pair_ciou, pair_diou, pair_eiou, pair_giou, pair_iou, pair_siou
from ._box_pairs import read_boxes

Kind = Literal["iou", "giou", "diou", "ciou", "eiou", "siou"]
SIMILARITIES = {
    "giou": pair_giou,
    "diou": pair_diou,
    "ciou": pair_ciou,
    "eiou": pair_eiou,
    "siou": pair_siou,
}


def inner_iou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    ratio: float = 0.7,
    kind: Kind = "iou",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """A loss of the IoU family whose IoU is that of the boxes scaled about their centres.

        L = L_kind + IoU - IoU_inner,   IoU_inner = IoU of both boxes with sides times `ratio`

    A ratio below 1 makes the IoU fall faster with the distance of the centres: a stronger pull for boxes that are good
    already. A ratio above 1 lets boxes overlap that do not: for small objects. It changes the IoU term alone, so with
    kind "iou" it is 1 - IoU_inner. `eiou_loss` and the others are ratio 1.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        ratio: scale of both boxes about their centres, > 0; the paper uses 0.5 to 1.5.
        kind: "iou", "giou", "diou", "ciou", "eiou" or "siou": the loss it is added to.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, another kind,
            a ratio that is not positive.

    Reference:
        Zhang et al. 2023, arXiv:2311.02877.

    Differs:
        The default ratio is that of the code in circulation; the paper picks one a dataset. The penalties (distance,
        aspect, ...) are always those of the boxes as they are, as in the paper.

    Example:
        Two squares of side 2, shifted by 1; halved, they touch without an overlap, and doubled, they share 3/5.

        >>> box, target = torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0])
        >>> inner_iou_loss(box, target, ratio=0.5), inner_iou_loss(box, target, ratio=2.0)
        (tensor(1.), tensor(0.4000))
    """
    check_positive("inner_iou_loss", "ratio", ratio)
    check_option("inner_iou_loss", "kind", kind, ("iou", *SIMILARITIES))
    inputs = read_boxes("inner_iou_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - pair_iou(BoxPair(_scaled(inputs.pair.x, ratio), _scaled(inputs.pair.y, ratio)))
    if kind != "iou":
        loss = loss + pair_iou(inputs.pair) - SIMILARITIES[kind](inputs.pair)
    return reduce_loss("inner_iou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _scaled(axis: Axis, ratio: float) -> Axis:
    """Both intervals scaled about their centres; the target's centre is 0 here."""
    size, target_size = axis.size * ratio, axis.target_size * ratio
    high = torch.minimum(axis.shift + size / 2, target_size / 2)
    low = torch.maximum(axis.shift - size / 2, -target_size / 2)
    return Axis(size, target_size, (high - low).clamp(min=0), axis.shift, axis.hull)


class InnerIoULoss(LossModule):
    """Module form of :func:`inner_iou_loss`."""

    def __init__(self, *, ratio: float = 0.7, kind: Kind = "iou", reduction: Reduction = "mean") -> None:
        super().__init__()
        self.ratio = ratio
        self.kind: Kind = kind
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return inner_iou_loss(
            boxes,
            target_boxes,
            ratio=self.ratio,
            kind=self.kind,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

"""IoU losses with a power on each term: :func:`alpha_iou_loss`."""

from typing import Literal

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_option, or_one, reduce_loss
from ..geometry import BoxPair
from ..geometry.overlaps import aspect_difference, center_distance, intersection_and_union, relative_hull
from ._box_pairs import read_boxes

Kind = Literal["iou", "giou", "diou", "ciou"]


def alpha_iou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    kind: Kind = "iou",
    alpha: float = 3.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus a power of the IoU, plus the same power of each penalty of a loss of the IoU family.

        L = 1 - IoU^α                                  kind "iou"
        L = 1 - IoU^α + ((C - U) / C)^α                "giou"
        L = 1 - IoU^α + (ρ² / c²)^α                    "diou"
        L = 1 - IoU^α + (ρ² / c²)^α + (β v)^α          "ciou"

    A power above 1 moves the gradient from poor boxes to good ones: that of the first term is α at an IoU of 1 and 0 at
    0. For tight boxes (AP at high IoU) and noisy labels; it starts slowly. The letters are those of :func:`giou_loss`,
    :func:`diou_loss` and :func:`ciou_loss`, whose α is called β here.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        kind: "iou", "giou", "diou" or "ciou": the loss whose terms are raised.
        alpha: the power, >= 1; 1 is the loss of that kind itself.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, another kind,
            alpha below 1.

    Reference:
        He et al. 2021, arXiv:2110.13675.

    Differs:
        The paper also looks at powers below 1, and finds them worse; their gradient is infinite where a term is 0. The
        authors' code adds small constants to denominators and powers; here equal boxes have loss 0 at every scale.

    Example:
        A square of side 2 in the middle of a target of 4 x 2: IoU 1/2.

        >>> box, target = torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 4.0, 2.0])
        >>> alpha_iou_loss(box, target), alpha_iou_loss(box, target, alpha=1.0)
        (tensor(0.8750), tensor(0.5000))
    """
    check_option("alpha_iou_loss", "kind", kind, ("iou", "giou", "diou", "ciou"))
    if not alpha >= 1:
        raise ValueError(f"alpha_iou_loss: expected alpha >= 1, got {alpha}")
    inputs = read_boxes("alpha_iou_loss", boxes, target_boxes, mask=mask, weights=weights)
    intersection, union = intersection_and_union(inputs.pair)
    iou = intersection / or_one(union)
    loss = 1 - _power(iou, alpha)
    for penalty in _penalties(kind, inputs.pair, iou, union):
        loss = loss + _power(penalty, alpha)
    return reduce_loss("alpha_iou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _power(term: Tensor, alpha: float) -> Tensor:
    # A power below 2 has an infinite second derivative at 0, where boxes do not overlap.
    return term if alpha == 1 else torch.where(term == 0, 0.0, or_one(term) ** alpha)


def _penalties(kind: Kind, pair: BoxPair, iou: Tensor, union: Tensor) -> list[Tensor]:
    if kind == "iou":
        return []
    if kind == "giou":
        return [(1 - union).clamp(min=0)]  # a union that rounds to more than the whole would make a power NaN
    hull = relative_hull(pair)
    if kind == "diou":
        return [center_distance(pair, hull)]
    aspect = aspect_difference(pair, hull)
    with torch.no_grad():
        trade_off = aspect / or_one(1 - iou + aspect)
    return [center_distance(pair, hull), trade_off * aspect]


class AlphaIoULoss(LossModule):
    """Module form of :func:`alpha_iou_loss`."""

    def __init__(self, *, kind: Kind = "iou", alpha: float = 3.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.kind: Kind = kind
        self.alpha = alpha
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return alpha_iou_loss(
            boxes,
            target_boxes,
            kind=self.kind,
            alpha=self.alpha,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

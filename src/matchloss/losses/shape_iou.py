"""IoU loss that looks at the shape of the target: :func:`shape_iou_loss`."""

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, reduce_loss
from ..geometry import BoxPair
from ..geometry.overlaps import center_offset, hull_diagonal, pair_iou, relative_hull, size_difference
from ._box_pairs import read_boxes


def shape_iou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    scale: float = 0.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus a distance and a difference of the sides weighed by the shape of the target.

        L = 1 - IoU + (H x² + W y²) / c² + (Ω(H ω_w) + Ω(W ω_h)) / 2
        W = 2 w_t^s / (w_t^s + h_t^s),   H = 2 - W,   Ω(ω) = (1 - exp(-ω))⁴

    x and y are the differences of the centres, c the diagonal of the smallest box around both, ω the difference of the
    sides over the larger. With a wide target, H is small: an error across costs less than one up or down, of which the
    IoU suffers more. With s = 0 it is :func:`diou_loss` plus the shape term of :func:`siou_loss`.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        scale: s, how much the shape of the target counts, >= 0; 0 for not at all. It goes with the size of the objects
            of a dataset.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, a negative
            scale.

    Reference:
        Zhang and Zhang 2023, arXiv:2312.17663.

    Differs:
        The default scale, 0, is that of the authors' code, which adds a fixed 1e-7 to denominators; here identical
        boxes have loss 0 at every scale. W and H are constants for the gradient, of the targets too.

    Example:
        Moved by half its length, or by half its height, IoU 1/3 both times: W = 2 * 4 / 6, H = 2 * 2 / 6.

        >>> target = torch.tensor([0.0, 0.0, 4.0, 2.0])
        >>> across, down = torch.tensor([2.0, 0.0, 6.0, 2.0]), torch.tensor([0.0, 1.0, 4.0, 3.0])
        >>> shape_iou_loss(across, target, scale=1.0)  # 2/3 + 2/3 * 4 / 40
        tensor(0.7333)
        >>> shape_iou_loss(down, target, scale=1.0)  # 2/3 + 4/3 * 1 / 25
        tensor(0.7200)
    """
    check_positive("shape_iou_loss", "scale", scale, or_zero=True)
    inputs = read_boxes("shape_iou_loss", boxes, target_boxes, mask=mask, weights=weights)
    pair = inputs.pair
    for_x, for_y = _axis_weights(pair, scale)
    hull = relative_hull(pair)
    across, down = center_offset(pair, hull)
    distance = (for_x * across.square() + for_y * down.square()) / hull_diagonal(hull)
    shape = _saturated(for_x * size_difference(pair.x)) + _saturated(for_y * size_difference(pair.y))
    loss = 1 - pair_iou(pair) + distance + shape / 2
    return reduce_loss("shape_iou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


@torch.no_grad()
def _axis_weights(pair: BoxPair, scale: float) -> tuple[Tensor, Tensor]:
    """The weight of x, which goes with the target's height, and that of y."""
    width, height = pair.x.target_size * pair.x.hull, pair.y.target_size * pair.y.hull
    # Of a target that is a point the sides are equal.
    least = torch.finfo(width.dtype).tiny
    width, height = width.clamp(min=least), height.clamp(min=least)
    longer = torch.maximum(width, height)
    width, height = (width / longer) ** scale, (height / longer) ** scale
    return 2 * height / (width + height), 2 * width / (width + height)


def _saturated(difference: Tensor) -> Tensor:
    return (1 - torch.exp(-difference)) ** 4


class ShapeIoULoss(LossModule):
    """Module form of :func:`shape_iou_loss`."""

    def __init__(self, *, scale: float = 0.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.scale = scale
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return shape_iou_loss(
            boxes, target_boxes, scale=self.scale, mask=mask, weights=weights, reduction=self.reduction
        )

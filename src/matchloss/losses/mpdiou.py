"""IoU loss with the distances of two corners: :func:`mpdiou_loss`."""

import math

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ..geometry import BoxPair
from ..geometry.overlaps import Axis, hull_diagonal, pair_iou, relative_hull
from ._box_pairs import read_boxes


def mpdiou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    image_size: tuple[float, float] | None = None,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, plus the distances of the top left and the bottom right corners.

        L = 1 - IoU + (d₁² + d₂²) / c²,   c = diagonal of the image, or of the smallest box around both

    Place, width and height in one term, since two corners fix a box: less to compute than :func:`ciou_loss`, and it
    tells apart boxes of one centre and one shape. With the diagonal of the image the term is tiny for all but big
    errors; without `image_size` it is as large as that of :func:`diou_loss`.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape; in the unit of `image_size` where that is given.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        image_size: (H, W) of the image that the network sees, the paper's choice; None to measure by the smallest box
            around both, so that scale does not matter.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, an
            image_size that is not positive.

    Reference:
        Ma and Xu 2023, arXiv:2307.07662.

    Differs:
        The paper always divides by the image's diagonal: give `image_size`. An inverted box is empty, at its centre.

    Example:
        Two squares of side 2, shifted by 1: IoU 1/3, both corners 1 apart, around them 3 x 2.

        >>> box, target = torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0])
        >>> mpdiou_loss(box, target)  # 2/3 + 2/13
        tensor(0.8205)
        >>> mpdiou_loss(box, target, image_size=(6, 8))  # 2/3 + 2/100
        tensor(0.6867)
    """
    if image_size is not None and not (len(image_size) == 2 and min(image_size) > 0):
        raise ValueError(f"mpdiou_loss: expected image_size to be a positive (H, W), got {image_size}")
    inputs = read_boxes("mpdiou_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - pair_iou(inputs.pair) + _corner_distance(inputs.pair, image_size)
    return reduce_loss("mpdiou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _corner_distance(pair: BoxPair, image_size: tuple[float, float] | None) -> Tensor:
    if image_size is None:
        hull = relative_hull(pair)
        return (_ends(pair.x, hull[0]) + _ends(pair.y, hull[1])) / hull_diagonal(hull)
    diagonal = math.hypot(*image_size)
    return _ends(pair.x, pair.x.hull / diagonal) + _ends(pair.y, pair.y.hull / diagonal)


def _ends(axis: Axis, length: Tensor) -> Tensor:
    """Squared distances of the two lower and of the two upper ends, ``(s - d/2)² + (s + d/2)²``."""
    shift, difference = axis.shift * length, (axis.size - axis.target_size) * length
    return 2 * shift.square() + difference.square() / 2


class MPDIoULoss(LossModule):
    """Module form of :func:`mpdiou_loss`."""

    def __init__(self, *, image_size: tuple[float, float] | None = None, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.image_size = image_size
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return mpdiou_loss(
            boxes, target_boxes, image_size=self.image_size, mask=mask, weights=weights, reduction=self.reduction
        )

"""Distance IoU of rotated boxes as a loss: :func:`rotated_diou_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ..geometry import rotated_box_diou
from ._rotated_pairs import read_rotated


def rotated_diou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU of rotated boxes, plus the squared distance of their centres.

        L = 1 - IoU + d² / c²,   c = largest distance between two of the eight corners

    Pulls boxes that do not overlap, and those that lie off-centre inside their targets, where
    :func:`rotated_giou_loss` is flat. From 0 to 2. Angles and sides count by the IoU alone.

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
        Zheng et al. 2020, arXiv:1911.08287, eq. 7, on rotated boxes.

    Differs:
        The paper's c is the diagonal of the upright box around both, which changes when the whole scene is turned.
        The diameter does not; upright boxes have at most the diagonal, so that the loss is at least
        :func:`diou_loss`.

    Example:
        Two squares of side 2, a gap of 2 between: d = 4, c² = 6² + 2².

        >>> rotated_diou_loss(torch.tensor([5.0, 1.0, 2.0, 2.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 2.0, 0.0]))
        tensor(1.4000)
    """
    inputs = read_rotated("rotated_diou_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - rotated_box_diou(inputs.rows, inputs.target_rows)
    return reduce_loss("rotated_diou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class RotatedDIoULoss(LossModule):
    """Module form of :func:`rotated_diou_loss`."""

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return rotated_diou_loss(boxes, target_boxes, mask=mask, weights=weights, reduction=self.reduction)

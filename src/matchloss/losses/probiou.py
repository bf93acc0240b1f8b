"""ProbIoU of rotated boxes as a loss: :func:`probiou_loss`."""

from typing import Literal

from torch import Tensor

from .._core import LossModule, Reduction, check_option, reduce_loss
from ..geometry.gaussians import to_hellinger
from ._bhattacharyya import measure_distance
from ._rotated_pairs import read_rotated

FAR = 10.0
"""Distance B from which on L2 goes on as a logarithm; the square of a distance in tiny sides overflows float16."""

Mode = Literal["l1", "l2"]


def probiou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mode: Mode = "l1",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hellinger distance of two rotated boxes as Gaussians, one minus their ProbIoU.

        L1 = √(1 - exp(-B)),   L2 = -log(1 - L1²) = B,   B = Bhattacharyya distance, with variances w²/12 and h²/12

    The usual loss of oriented detectors of the YOLO family. In [0, 1], like an IoU loss, at any scale, symmetric in
    box and target, and without jumps at any angle. L1 is flat for boxes far apart; L2 is not, and steeper the farther:
    the paper begins with it and changes to L1. A square has no angle to it.

    Shapes:
        boxes, target_boxes: (..., 5) as (cx, cy, w, h, a), the same shape, any one unit;
            the angle in radians, clockwise on the screen; a box of negative size counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mode: "l1" or "l2".
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without five numbers, another mode.

    Reference:
        Murrugarra-Llerena et al. 2021, arXiv:2106.06072, eq. 6 to 10.

    Differs:
        Code in circulation adds 1e-3 and more under the root and to determinants, so that equal boxes cost about 0.03,
        and sides of a few tenths are not told apart; here equal boxes cost 0 at every scale. L1 has no slope there.
        L2 goes on as 10 (1 + log B/10) above 10, where B's slopes overflow half precision; the pull goes on too.

    Example:
        Centres half a width apart: B = 3/8.

        >>> box, target = torch.tensor([2.0, 0.0, 4.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 4.0, 2.0, 0.0])
        >>> probiou_loss(box, target, mode="l2")
        tensor(0.3750)
        >>> probiou_loss(box, target)
        tensor(0.5592)
    """
    check_option("probiou_loss", "mode", mode, ("l1", "l2"))
    inputs = read_rotated("probiou_loss", boxes, target_boxes, mask=mask, weights=weights)
    distance = measure_distance(inputs.rows, inputs.target_rows)
    loss = to_hellinger(distance) if mode == "l1" else _held_back(distance)
    return reduce_loss("probiou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _held_back(distance: Tensor) -> Tensor:
    return distance.clamp(max=FAR) + FAR * (distance.clamp(min=FAR) / FAR).log()


class ProbIoULoss(LossModule):
    """Module form of :func:`probiou_loss`."""

    def __init__(self, *, mode: Mode = "l1", reduction: Reduction = "mean") -> None:
        super().__init__()
        self.mode: Mode = mode
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return probiou_loss(
            boxes,
            target_boxes,
            mode=self.mode,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

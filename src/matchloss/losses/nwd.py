"""Normalised Wasserstein distance of boxes as Gaussians: :func:`nwd_loss`."""

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, or_one, reduce_loss
from ..geometry import BoxPair
from ._box_pairs import read_boxes


def nwd_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    constant: float = 12.8,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the exponential of a distance between boxes that are taken as Gaussians.

        L = 1 - exp(-W / C),   W² = (x - x_t)² + (y - y_t)² + ((w - w_t)² + (h - h_t)²) / 4

    For tiny objects: being a pixel off costs the same at every size, where an IoU loss of a box of 6 pixels changes at
    a stroke, and boxes beside each other have a gradient too. The unit matters: C is in the unit of the boxes, and far
    above C the loss is flat. x and y are the centre.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, in the unit of `constant`; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        constant: C, > 0, about the mean size of the objects; 12.8 pixels is that of AI-TOD, the paper's dataset. For
            boxes in [0, 1] divide it by the size of the image.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates, a
            constant that is not positive.

    Reference:
        Wang et al. 2021, arXiv:2110.13389.

    Differs:
        W has the root of the paper. Code in circulation adds 1e-7 under it, so that equal boxes cost more than 0; here
        they have loss 0, and the gradient at that tip is 0. Unlike every IoU loss it depends on the unit.

    Example:
        Two squares of side 2, 3 across and 4 down from each other: W = 5.

        >>> nwd_loss(torch.tensor([3.0, 4.0, 5.0, 6.0]), torch.tensor([0.0, 0.0, 2.0, 2.0]), constant=5.0)  # 1 - 1/e
        tensor(0.6321)
    """
    check_positive("nwd_loss", "constant", constant)
    inputs = read_boxes("nwd_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - torch.exp(-_wasserstein(inputs.pair) / constant)
    return reduce_loss("nwd_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _wasserstein(pair: BoxPair) -> Tensor:
    """Distance of two Gaussians with the boxes' centres, and half their sides as standard deviations."""
    squared = torch.zeros_like(pair.x.hull)
    for axis in pair:
        shift, size = axis.shift * axis.hull, (axis.size - axis.target_size) * axis.hull
        squared = squared + shift.square() + size.square() / 4
    # The root of 0 has an infinite gradient, which `where` alone would turn into NaN.
    return torch.where(squared == 0, 0.0, or_one(squared).sqrt())


class NWDLoss(LossModule):
    """Module form of :func:`nwd_loss`."""

    def __init__(self, *, constant: float = 12.8, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.constant = constant
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return nwd_loss(
            boxes, target_boxes, constant=self.constant, mask=mask, weights=weights, reduction=self.reduction
        )

"""Kalman filter IoU of rotated boxes: :func:`kfiou_loss`."""

from typing import Literal

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_option, check_positive, reduce_loss
from ..geometry import kalman_iou
from ..geometry.gaussians import compare_gaussians
from ._rotated_pairs import read_rotated

Mode = Literal["linear", "log", "exp"]


def kfiou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    mode: Mode = "linear",
    center_weight: float = 1.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Overlap of two rotated boxes as Gaussians about one centre, and the distance of the centres.

        L = log(1 + (c - c_t)ᵀ Σ_t⁻¹ (c - c_t)) + (1 - K),   K = 3 V / (w h + w_t h_t - V)

    V is the area of the product of the two Gaussians, as a Kalman filter makes it. A stand-in for
    :func:`rotated_iou_loss` without its corners: smooth, the same at every scale, and boxes apart have a gradient.
    K knows nothing of the centres, hence the other term. A square has no angle to it.

    Shapes:
        boxes, target_boxes: (..., 5) as (cx, cy, w, h, a), the same shape, any one unit;
            the angle in radians, clockwise on the screen; a box of negative size counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        mode: of the second term: "linear" 1 - K, "log" -log K, "exp" exp(1 - K) - 1.
        center_weight: factor of the first term, >= 0; 0 where another loss sees to the centres.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without five numbers, another mode,
            a negative weight.

    Reference:
        Yang et al. 2023, arXiv:2201.12558.

    Differs:
        The published overlap is at most 1/3, that of equal boxes, whose loss then is 2/3 (or log 3, or e^(2/3) - 1);
        here it is multiplied by 3, and equal boxes cost 0. The centre term is measured by the target's Gaussian.
        mmrotate has smooth L1 of the box deltas in its place, which a loss of boxes cannot know.

    Example:
        Equal but for the place, half a width off: log 2.

        >>> box, target = torch.tensor([2.0, 0.0, 4.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 4.0, 2.0, 0.0])
        >>> kfiou_loss(box, target)
        tensor(0.6931)
    """
    check_option("kfiou_loss", "mode", mode, ("linear", "log", "exp"))
    check_positive("kfiou_loss", "center_weight", center_weight, or_zero=True)
    inputs = read_rotated("kfiou_loss", boxes, target_boxes, mask=mask, weights=weights)
    missing = _missing(3 * kalman_iou(inputs.rows, inputs.target_rows), mode)
    loss = center_weight * _center_term(inputs.rows, inputs.target_rows) + missing
    return reduce_loss("kfiou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _missing(overlap: Tensor, mode: Mode) -> Tensor:
    if mode == "log":
        return -overlap.log()
    return 1 - overlap if mode == "linear" else torch.expm1(1 - overlap)


def _center_term(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    pair = compare_gaussians(boxes, target_boxes)
    along, across = pair.target_along / pair.target_long, pair.target_across / pair.target_short
    return (4 * (along.square() + across.square())).log1p()  # the deviations are half the sides


class KFIoULoss(LossModule):
    """Module form of :func:`kfiou_loss`."""

    def __init__(self, *, mode: Mode = "linear", center_weight: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.mode: Mode = mode
        self.center_weight = center_weight
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return kfiou_loss(
            boxes,
            target_boxes,
            mode=self.mode,
            center_weight=self.center_weight,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

"""Loss of an angle that comes round again: :func:`angle_loss`."""

import torch
from torch import Tensor

from .._core import (
    LossModule,
    Reduction,
    check_float,
    check_mask,
    check_same_shape,
    compute_dtype,
    expand_to,
    keep_valid,
    reduce_loss,
    to_compute,
)


def angle_loss(
    angles: Tensor,
    target_angles: Tensor,
    *,
    symmetry: int = 1,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the cosine of the difference of two angles.

        L = 1 - cos(symmetry · (a - t)) = 2 sin²(symmetry · (a - t) / 2)

    The angle term of EAST. Whole turns do not count, so that no range of angles has an edge. From 0 to 2, and about
    half the squared difference (times symmetry²) near 0: one degree costs 0.00015, and EAST weights it by 10. It knows
    nothing of the box: five degrees mean little to a square and much to a line, as :func:`rotated_iou_loss` sees.

    Shapes:
        angles, target_angles: (*), the same shape, radians.
        returns: () or, with reduction "none", (*), float32 (float64 for float64).

    Args:
        symmetry: turns of the target that look alike, a whole number > 0: 1 for words, 2 for rectangles without a
            top, 4 for squares. Half a turn off costs 2, the most there is and without slope, with symmetry 1, and
            nothing with 2.
        mask: (*) bool, broadcastable, False = leave out.
        weights: (*) factor per angle, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid angles; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ, a symmetry that is not a whole number > 0.

    Reference:
        Zhou et al. 2017, arXiv:1704.03155 (EAST), section 3.4.2.

    Differs:
        In nothing but the form, the sine: the cosine of a small difference is 1 in float32, and the loss 0, below
        0.02 degrees.

    Example:
        60 degrees, whose cosine is 1/2, and twice of which has -1/2:

        >>> angle = torch.tensor(torch.pi / 3)
        >>> angle_loss(angle, torch.tensor(0.0))
        tensor(0.5000)
        >>> angle_loss(angle, torch.tensor(0.0), symmetry=2)
        tensor(1.5000)
    """
    if not isinstance(symmetry, int) or symmetry < 1:
        raise ValueError(f"angle_loss: expected symmetry to be a whole number > 0, got {symmetry!r}")
    check_float("angle_loss", "angles", angles)
    check_same_shape("angle_loss", {"angles": angles, "target_angles": target_angles})
    check_mask("angle_loss", mask)
    valid = None if mask is None else expand_to("angle_loss", "mask", mask, angles)
    targets = keep_valid(target_angles.to(compute_dtype(angles)), valid)
    half = (keep_valid(to_compute(angles), valid) - targets) * (symmetry / 2)
    loss = 2 * torch.sin(half).square()
    return reduce_loss("angle_loss", loss, reduction, valid=valid, weights=weights)


class AngleLoss(LossModule):
    """Module form of :func:`angle_loss`."""

    def __init__(self, *, symmetry: int = 1, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.symmetry = symmetry
        self.reduction: Reduction = reduction

    def forward(
        self, angles: Tensor, target_angles: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return angle_loss(
            angles, target_angles, symmetry=self.symmetry, mask=mask, weights=weights, reduction=self.reduction
        )

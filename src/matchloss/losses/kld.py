"""Kullback-Leibler divergence of rotated boxes: :func:`kld_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ..geometry import gaussian_kl_divergence
from ._rotated_pairs import read_rotated
from ._transforms import Transform, flatten_distance


def kld_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    tau: float = 1.0,
    transform: Transform = "log1p",
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Kullback-Leibler divergence of a rotated box from its target as Gaussians, mapped to [0, 1).

        L = 1 - 1 / (τ + f(D)),   f = log(1 + ·) or √
        D = ½ ((c - c_t)ᵀ Σ_t⁻¹ (c - c_t) + tr(Σ_t⁻¹ Σ) + ln |Σ_t| / |Σ|) - 1

    Like :func:`gwd_loss` without jumps and with a gradient for boxes apart, but the same at every scale, and stricter
    the thinner the target: an error across it counts by its height, an angle by its shape. A square has no angle to it.

    Shapes:
        boxes, target_boxes: (..., 5) as (cx, cy, w, h, a), the same shape, any one unit;
            the angle in radians, clockwise on the screen; a box of negative size counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        tau: τ >= 1; equal boxes cost 1 - 1/τ.
        transform: f, "log1p" or "sqrt".
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without five numbers, a tau below
            1, another transform.

    Reference:
        Yang et al. 2021, arXiv:2106.01883, eq. 4 and 10.

    Differs:
        Written in sides and angle: determinants of 2 x 2 matrices cancel for thin boxes, and code with them has NaN
        there. A side counts as at least a billionth of the longest length, so that an empty box costs a finite
        amount; it has no slope there, nor has the root at 0.

    Example:
        Centres as far apart as half a target is wide: D = 1/2.

        >>> box, target = torch.tensor([2.0, 0.0, 4.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 4.0, 2.0, 0.0])
        >>> kld_loss(box, target)  # 1 - 1 / (1 + log 1.5)
        tensor(0.2885)
    """
    inputs = read_rotated("kld_loss", boxes, target_boxes, mask=mask, weights=weights)
    divergence = gaussian_kl_divergence(inputs.rows, inputs.target_rows)
    loss = flatten_distance("kld_loss", divergence, tau, transform)
    return reduce_loss("kld_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class KLDLoss(LossModule):
    """Module form of :func:`kld_loss`."""

    def __init__(self, *, tau: float = 1.0, transform: Transform = "log1p", reduction: Reduction = "mean") -> None:
        super().__init__()
        self.tau = tau
        self.transform: Transform = transform
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return kld_loss(
            boxes,
            target_boxes,
            tau=self.tau,
            transform=self.transform,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

"""Gaussian Wasserstein distance of rotated boxes: :func:`gwd_loss`."""

from torch import Tensor

from .._core import LossModule, Reduction, reduce_loss
from ..geometry import gaussian_wasserstein
from ._rotated_pairs import read_rotated
from ._transforms import Transform, flatten_distance

FARTHEST = 1e30
"""Squared distance beyond which the loss no longer changes."""


def gwd_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    tau: float = 1.0,
    transform: Transform = "log1p",
    normalize: bool = False,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Wasserstein distance of two rotated boxes as Gaussians, mapped to [0, 1).

        L = 1 - 1 / (τ + f(W²)),   W² = |c - c_t|² + tr(Σ + Σ_t - 2 (Σ^½ Σ_t Σ^½)^½),   f = log(1 + ·) or √

    Smooth where an IoU is not: boxes apart have a gradient, and an angle that comes round, or sides that change
    places, are no jump. A pixel costs the same at any size, so small boxes are held to less; `normalize` or
    :func:`kld_loss` make up for it. A square has no angle to it. For upright boxes see :func:`nwd_loss`.

    Shapes:
        boxes, target_boxes: (..., 5) as (cx, cy, w, h, a), the same shape, in pixels, or any unit with `normalize`;
            the angle in radians, clockwise on the screen; a box of negative size counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        tau: τ >= 1; equal boxes cost 1 - 1/τ.
        transform: f, "log1p" or "sqrt".
        normalize: divide W² by √(w h w_t h_t), so that the unit does not matter.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without five numbers, a tau below
            1, another transform.

    Reference:
        Yang et al. 2021, arXiv:2101.11952, eq. 6 and 9.

    Differs:
        The distance is a sum of terms that are not negative, of sides and angle; by determinants and traces it is
        negative for thin boxes, and the root NaN. `normalize` is not in the paper but in its authors' code.
        The root has no slope at 0.

    Example:
        Two equal boxes whose centres are 3 and 4 apart: W² = 25.

        >>> box, target = torch.tensor([3.0, 4.0, 8.0, 2.0, 0.5]), torch.tensor([0.0, 0.0, 8.0, 2.0, 0.5])
        >>> gwd_loss(box, target, transform="sqrt")  # 1 - 1 / 6
        tensor(0.8333)
    """
    inputs = read_rotated("gwd_loss", boxes, target_boxes, mask=mask, weights=weights)
    parts = gaussian_wasserstein(inputs.rows, inputs.target_rows)
    squared = parts.center + parts.shape
    squared = squared / parts.area if normalize else (squared * parts.unit * parts.unit).clamp(max=FARTHEST)
    loss = flatten_distance("gwd_loss", squared, tau, transform)
    return reduce_loss("gwd_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


class GWDLoss(LossModule):
    """Module form of :func:`gwd_loss`."""

    def __init__(
        self,
        *,
        tau: float = 1.0,
        transform: Transform = "log1p",
        normalize: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.tau = tau
        self.transform: Transform = transform
        self.normalize = normalize
        self.reduction: Reduction = reduction

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return gwd_loss(
            boxes,
            target_boxes,
            tau=self.tau,
            transform=self.transform,
            normalize=self.normalize,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

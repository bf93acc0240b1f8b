"""IoU loss that looks away from outliers: :func:`wise_iou_loss`."""

from typing import Literal

import torch
from torch import Tensor

from .._core import LossModule, Reduction, check_option, check_positive, or_one, reduce_loss, sum_over_ranks
from ..geometry import BoxPair
from ..geometry.overlaps import center_offset, hull_diagonal, pair_iou, relative_hull
from ._box_pairs import read_boxes

Version = Literal["v1", "v2", "v3"]


def wise_iou_loss(
    boxes: Tensor,
    target_boxes: Tensor,
    *,
    version: Version = "v1",
    running_mean: Tensor | float | None = None,
    gamma: float = 0.5,
    alpha: float = 1.9,
    delta: float = 3.0,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the IoU, times a factor for the distance and one for how unusual the box is.

        L = r exp(ρ² / c²) (1 - IoU)
        r = 1 in v1,   b^γ in v2,   b / (δ α^(b - δ)) in v3,   b = (1 - IoU) / its running mean

    v1 is a :func:`diou_loss` with a factor from 1 to e in place of a sum, and c a constant. v2 turns to the bad boxes,
    v3 to the middling ones: at b = δ the factor is 1, and for outliers (poor labels, mostly) it fades. The running mean
    makes that relative to what training has reached; :class:`WiseIoULoss` keeps it.

    Shapes:
        boxes, target_boxes: (..., 4) xyxy, the same shape, any unit; an inverted box counts as empty.
        returns: () or, with reduction "none", (...), one a box, float32 (float64 for float64).

    Args:
        version: "v1", "v2" or "v3".
        running_mean: mean of 1 - IoU in the last steps, () or a number, for v2 and v3. The module starts with it (1
            where None), and each training step moves its buffer by its option `momentum`, 1e-4: half is forgotten after
            7000 steps. It takes the valid boxes of all ranks; a mean that is not finite is left out.
        gamma: exponent of v2, >= 0.
        alpha: base of v3, > 1; the larger, the faster outliers fade.
        delta: the b of v3 at which the factor is 1, > 0.
        mask: (...) bool, broadcastable, False = leave out.
        weights: (...) factor per box, broadcastable; does not change the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid boxes; nothing valid gives 0.

    Raises:
        ValueError: shapes that differ (nothing is broadcast in silence), boxes without four coordinates,
            another version, v2 or v3 without a running mean, options out of range.

    Reference:
        Tong et al. 2023, arXiv:2301.10051.

    Differs:
        c, r and the running mean are constants for the gradient, as in the paper. Copies in YOLO forks keep the mean in
        a class attribute, by `.item()`, for each rank on its own, and move it before it is used; here it is a buffer of
        the module (it is in the checkpoint), moved after use, in training mode only.

    Example:
        Two squares of side 2, shifted by 1: 2/3 exp(1/13). With a running mean of 2/9, b = 3 = δ in v3.

        >>> box, target = torch.tensor([1.0, 0.0, 3.0, 2.0]), torch.tensor([0.0, 0.0, 2.0, 2.0])
        >>> wise_iou_loss(box, target), wise_iou_loss(box, target, version="v3", running_mean=2 / 9)
        (tensor(0.7200), tensor(0.7200))
    """
    _check_options(version, running_mean, gamma, alpha, delta)
    inputs = read_boxes("wise_iou_loss", boxes, target_boxes, mask=mask, weights=weights)
    loss = 1 - pair_iou(inputs.pair)
    if running_mean is None or version == "v1":
        focus = torch.ones_like(loss)
    else:
        outlier = loss.detach() / or_one(torch.as_tensor(running_mean, dtype=loss.dtype, device=loss.device).detach())
        focus = outlier**gamma if version == "v2" else outlier / (delta * alpha ** (outlier - delta))
    loss = focus * _attention(inputs.pair) * loss
    return reduce_loss("wise_iou_loss", loss, reduction, valid=inputs.valid, weights=inputs.weights)


def _check_options(
    version: Version, running_mean: Tensor | float | None, gamma: float, alpha: float, delta: float
) -> None:
    check_option("wise_iou_loss", "version", version, ("v1", "v2", "v3"))
    check_positive("wise_iou_loss", "gamma", gamma, or_zero=True)
    check_positive("wise_iou_loss", "delta", delta)
    if not alpha > 1:
        raise ValueError(f"wise_iou_loss: expected alpha > 1, got {alpha}")
    if version != "v1" and running_mean is None:
        raise ValueError(f"wise_iou_loss: expected a running_mean for {version}, got None; WiseIoULoss keeps one")


def _attention(pair: BoxPair) -> Tensor:
    hull = relative_hull(pair)
    across, down = center_offset(pair, hull)
    return torch.exp((across.square() + down.square()) / hull_diagonal(hull).detach())


class WiseIoULoss(LossModule):
    """Module form of :func:`wise_iou_loss`, which keeps the running mean of v2 and v3."""

    def __init__(
        self,
        *,
        version: Version = "v1",
        running_mean: Tensor | float | None = None,
        momentum: float = 1e-4,
        gamma: float = 0.5,
        alpha: float = 1.9,
        delta: float = 3.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(f"WiseIoULoss: expected momentum in (0, 1], got {momentum}")
        self.version: Version = version
        self.momentum = momentum
        self.gamma = gamma
        self.alpha = alpha
        self.delta = delta
        self.reduction: Reduction = reduction
        start = torch.tensor(1.0 if running_mean is None else float(running_mean))
        self.running_mean: Tensor | None
        self.register_buffer("running_mean", None if version == "v1" else start)

    def forward(
        self, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss; in training mode, move the running mean after it."""
        loss = wise_iou_loss(
            boxes,
            target_boxes,
            version=self.version,
            running_mean=self.running_mean,
            gamma=self.gamma,
            alpha=self.alpha,
            delta=self.delta,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )
        if self.training:
            self._move(boxes, target_boxes, mask)
        return loss

    @torch.no_grad()
    def _move(self, boxes: Tensor, target_boxes: Tensor, mask: Tensor | None) -> None:
        if self.running_mean is None:
            return
        inputs = read_boxes("WiseIoULoss", boxes, target_boxes, mask=mask)
        loss = 1 - pair_iou(inputs.pair)
        valid = torch.ones_like(loss, dtype=torch.bool) if inputs.valid is None else inputs.valid
        total, count = sum_over_ranks(torch.stack([torch.where(valid, loss, 0.0).sum(), valid.sum().to(loss.dtype)]))
        mean = (total / count).to(self.running_mean.dtype)  # NaN of no boxes
        # One bad step must not spoil all that follow.
        self.running_mean.lerp_(torch.where(mean.isfinite(), mean, self.running_mean), self.momentum)

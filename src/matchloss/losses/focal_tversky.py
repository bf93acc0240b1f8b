"""Focal Tversky loss: :func:`softmax_focal_tversky_loss` and :func:`sigmoid_focal_tversky_loss`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._core import Reduction, check_positive
from ._region import Empty, RegionSums
from ._region_body import sigmoid_region, softmax_region
from ._region_module import SigmoidRegionLoss, SoftmaxRegionLoss
from .tversky import tversky_of


def softmax_focal_tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    gamma: float = 4 / 3,
    empty: Empty = "skip",
    per_image: bool = True,
    sync: bool = False,
    class_weights: Tensor | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Tversky loss raised to a power, so that training dwells on some classes.

        L = (1 - TI)^(1/γ),   TI = (TP + s) / (TP + α FP + β FN + s)

    For small structures that :func:`softmax_tversky_loss` finds but leaves ragged: with γ = 4/3 the slope stays steep
    near the optimum. Note the reciprocal: unlike in the focal loss, γ below 1 is what favours the hard.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, C) with 0 where skipped; (1, C) if pooled; at least float32.

    Args:
        alpha: weight of the false positives, >= 0.
        beta: weight of the false negatives, >= 0.
        smooth: s, added above and below, on the scale of true positives: 0.5 here is 1 in the Dice loss.
        gamma: the exponent is 1 / gamma; above 1 it stresses classes that are nearly right, below 1 those that are bad.
        empty: what a class without target in the image costs: "skip", "penalize", "keep" or "zero", see
            :func:`softmax_dice_loss`.
        per_image: sums over each image; False pools the batch, whose value then depends on the batch size.
        sync: with `per_image=False`, pool over all ranks.
        class_weights: (C,) factor per class; `mean` divides by the summed weights of what counts.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) times that an element counts in every sum.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the images and classes that count; none gives 0.

    Raises:
        ValueError: shapes that do not fit, a gamma of 0 or less, on the CPU a label out of range.

    Reference:
        Abraham & Khan 2018, arXiv:1810.07842.

    Differs:
        The mean over classes is outside the power, as in the paper but for its sum; segmentation_models_pytorch and
        SegLossOdyssey raise the mean. A perfect class has gradient 0; segmentation_models_pytorch gives NaN.

    Example:
        The Tversky loss is 0.5 for both classes, and 0.5^(3/4) = 0.5946:

        >>> softmax_focal_tversky_loss(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]))
        tensor(0.5946)
    """
    return softmax_region(
        "softmax_focal_tversky_loss",
        logits,
        targets,
        lambda sums: focal_tversky_of(sums, alpha, beta, smooth, gamma),
        form="linear",
        empty=empty,
        per_image=per_image,
        sync=sync,
        class_weights=class_weights,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
        reduction=reduction,
    )


def sigmoid_focal_tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    gamma: float = 4 / 3,
    empty: Empty = "penalize",
    per_image: bool = True,
    sync: bool = False,
    class_weights: Tensor | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int | None = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Tversky loss of binary maps raised to a power.

        L = (1 - TI)^(1/γ),   TI = (TP + s) / (TP + α FP + β FN + s)

    For small structures that :func:`sigmoid_tversky_loss` finds but leaves ragged. Note the reciprocal: unlike in the
    focal loss, γ below 1 is what favours the hard.

    Shapes:
        logits: (N, C, *), or (N, *) with `class_dim=None`; any float dtype.
        targets: floats or bools of the logits' shape, or (N, *) integer labels with -1 for background.
        returns: () or, with reduction "none", (N, C) with 0 where skipped; (1, C) if pooled; at least float32.

    Args:
        empty: what a map without target costs: "penalize" the mean of p, since false alarms on an empty image must
            cost; "skip", "keep", "zero" as in :func:`softmax_dice_loss`.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: times that an element counts, broadcastable to the logits.
        class_dim: where the classes are; None for logits without classes, such as (queries, H, W).
        others: as in :func:`softmax_focal_tversky_loss`.

    Raises:
        ValueError: shapes that do not fit, a gamma of 0 or less, on the CPU a label out of range.

    Reference:
        Abraham & Khan 2018, arXiv:1810.07842.

    Differs:
        As :func:`softmax_focal_tversky_loss`; an empty target costs the mean of p, not raised to a power.

    Example:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0]]])
        >>> sigmoid_focal_tversky_loss(logits, torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor(0.3330)
    """
    return sigmoid_region(
        "sigmoid_focal_tversky_loss",
        logits,
        targets,
        lambda sums: focal_tversky_of(sums, alpha, beta, smooth, gamma),
        form="linear",
        empty=empty,
        per_image=per_image,
        sync=sync,
        class_weights=class_weights,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
        reduction=reduction,
    )


def focal_tversky_of(sums: RegionSums, alpha: float, beta: float, smooth: float, gamma: float) -> Tensor:
    """The formula; options are checked here for function and module alike."""
    check_positive("focal_tversky", "gamma", gamma)
    loss = tversky_of(sums, alpha, beta, smooth)
    # A power below 1 has an infinite slope at 0: a perfect class must have gradient 0, not NaN. Below one rounding
    # step the loss is noise, and clamp passes no gradient there.
    return loss.clamp(min=torch.finfo(loss.dtype).eps) ** (1 / gamma)


class SoftmaxFocalTverskyLoss(SoftmaxRegionLoss):
    """Module form of :func:`softmax_focal_tversky_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 0.0,
        gamma: float = 4 / 3,
        empty: Empty = "skip",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            "softmax_focal_tversky_loss",
            "linear",
            empty,
            per_image,
            sync,
            class_weights,
            ignore_index,
            class_dim,
            reduction,
        )
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth
        self.gamma = gamma

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return focal_tversky_of(sums, self.alpha, self.beta, self.smooth, self.gamma)


class SigmoidFocalTverskyLoss(SigmoidRegionLoss):
    """Module form of :func:`sigmoid_focal_tversky_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 0.0,
        gamma: float = 4 / 3,
        empty: Empty = "penalize",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            "sigmoid_focal_tversky_loss",
            "linear",
            empty,
            per_image,
            sync,
            class_weights,
            ignore_index,
            class_dim,
            reduction,
        )
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth
        self.gamma = gamma

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return focal_tversky_of(sums, self.alpha, self.beta, self.smooth, self.gamma)

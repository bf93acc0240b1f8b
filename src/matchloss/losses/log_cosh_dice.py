"""Log-cosh Dice loss: :func:`softmax_log_cosh_dice_loss` and :func:`sigmoid_log_cosh_dice_loss`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._core import Reduction
from ._region import Empty, RegionSums
from ._region_body import sigmoid_region, softmax_region
from ._region_module import SigmoidRegionLoss, SoftmaxRegionLoss
from .dice import dice_of


def softmax_log_cosh_dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    smooth: float = 0.0,
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
    """Logarithm of the hyperbolic cosine of the Dice loss: Dice whose slope fades near the optimum.

        L = log cosh D,   D = 1 - (2 Σ p t + s) / (Σ p + Σ t + s)

    For a Dice loss that jumps about at the end of training: about D²/2, so the slope shrinks with D. It also learns
    slower there; :func:`softmax_dice_loss` with cross entropy is the usual first choice.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, C) with 0 where skipped; (1, C) if pooled; at least float32.

    Args:
        smooth: s, added above and below; damps the gradient of very small regions.
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
        ValueError: shapes that do not fit, on the CPU a label out of range.

    Reference:
        Jadon 2020, arXiv:2006.14822.

    Differs:
        The power is taken per image and class before the mean; the paper has one class.

    Example:
        The Dice loss is 0.5 for both classes, and log cosh 0.5 = 0.1201:

        >>> softmax_log_cosh_dice_loss(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]))
        tensor(0.1201)
    """
    return softmax_region(
        "softmax_log_cosh_dice_loss",
        logits,
        targets,
        lambda sums: log_cosh_dice_of(sums, smooth),
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


def sigmoid_log_cosh_dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    smooth: float = 0.0,
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
    """Logarithm of the hyperbolic cosine of the Dice loss of binary maps.

        L = log cosh D,   D = 1 - (2 Σ p t + s) / (Σ p + Σ t + s)

    For a :func:`sigmoid_dice_loss` that jumps about at the end of training: about D²/2, so the slope shrinks with D.

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
        others: as in :func:`softmax_log_cosh_dice_loss`.

    Raises:
        ValueError: shapes that do not fit, on the CPU a label out of range.

    Reference:
        Jadon 2020, arXiv:2006.14822.

    Differs:
        An empty target costs the mean of p; the paper says nothing of it.

    Example:
        The Dice loss is 1/3, and log cosh 1/3 = 0.0546:

        >>> logits = torch.tensor([[[20.0, 20.0, -20.0]]])
        >>> sigmoid_log_cosh_dice_loss(logits, torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor(0.0546)
    """
    return sigmoid_region(
        "sigmoid_log_cosh_dice_loss",
        logits,
        targets,
        lambda sums: log_cosh_dice_of(sums, smooth),
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


def log_cosh_dice_of(sums: RegionSums, smooth: float) -> Tensor:
    """The formula; the Dice loss lies in [0, 1], so cosh cannot overflow."""
    return torch.log(torch.cosh(dice_of(sums, smooth)))


class SoftmaxLogCoshDiceLoss(SoftmaxRegionLoss):
    """Module form of :func:`softmax_log_cosh_dice_loss`."""

    def __init__(
        self,
        *,
        smooth: float = 0.0,
        empty: Empty = "skip",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            "softmax_log_cosh_dice_loss",
            "linear",
            empty,
            per_image,
            sync,
            class_weights,
            ignore_index,
            class_dim,
            reduction,
        )
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return log_cosh_dice_of(sums, self.smooth)


class SigmoidLogCoshDiceLoss(SigmoidRegionLoss):
    """Module form of :func:`sigmoid_log_cosh_dice_loss`."""

    def __init__(
        self,
        *,
        smooth: float = 0.0,
        empty: Empty = "penalize",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            "sigmoid_log_cosh_dice_loss",
            "linear",
            empty,
            per_image,
            sync,
            class_weights,
            ignore_index,
            class_dim,
            reduction,
        )
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return log_cosh_dice_of(sums, self.smooth)

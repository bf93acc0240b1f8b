"""Generalised Dice loss: :func:`softmax_generalized_dice_loss` and :func:`sigmoid_generalized_dice_loss`."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .._core import Reduction, check_option, check_positive, or_one
from ._region import Empty, RegionElements, RegionSums, pool_sums, ratio, read_region_weights
from ._region_module import SigmoidRegionLoss, SoftmaxRegionLoss
from ._sigmoid_sums import sigmoid_sums
from ._softmax_sums import softmax_sums

Weighting = Literal["square", "simple", "uniform"]


def softmax_generalized_dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    weighting: Weighting = "square",
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
    """Dice loss of all classes at once, each weighed by the inverse of its volume.

        L = 1 - (2 Σ_c w_c Σ p t + s) / (Σ_c w_c (Σ p + Σ t) + s),   w_c = 1 / (Σ t)²

    For strongly unequal classes: a class of ten pixels counts as much as one of ten thousand. The classes share one
    fraction, so one tiny class can rule an image; :func:`softmax_dice_loss` averages one fraction a class instead.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N,), or (1,) if pooled; at least float32.

    Args:
        weighting: "square" 1 / volume², "simple" 1 / volume, "uniform" 1.
        smooth: s, added above and below.
        empty: "skip": a class absent from the image has weight 0; "penalize": the largest weight of the others, so
            that false alarms cost. An image without any target is skipped, or costs the mean of p.
        per_image: volumes and sums of each image; False pools the batch.
        sync: with `per_image=False`, pool over all ranks.
        class_weights: (C,) further factor per class inside the fraction.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) times that an element counts in every sum.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the images that count; none gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, on the CPU a label out of range.

    Reference:
        Sudre et al. 2017, arXiv:1707.03237, section 2.1.

    Differs:
        MONAI's GeneralizedDiceLoss is `smooth=1e-5, empty="penalize"` but for its own treatment of an image without
        target. With "uniform" weights and a softmax the loss is 1 - mean p of the label: kornia's "micro" Dice.

    Example:
        Three pixels, p = 0.5 everywhere, labels 0, 0, 1: w = 1/4 and 1, 2 (1/4 + 1/2) / (3.5/4 + 2.5) = 0.4444.

        >>> softmax_generalized_dice_loss(torch.zeros(1, 2, 3), torch.tensor([[0, 0, 1]]))
        tensor(0.5556)
    """
    sums = softmax_sums(
        "softmax_generalized_dice_loss",
        logits,
        targets,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
    )
    return generalized_dice_elements(
        "softmax_generalized_dice_loss", sums, weighting, smooth, empty, per_image, sync, class_weights
    ).reduce("softmax_generalized_dice_loss", reduction)


def sigmoid_generalized_dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    weighting: Weighting = "square",
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
    """Dice loss of all binary maps at once, each weighed by the inverse of its volume.

        L = 1 - (2 Σ_c w_c Σ p t + s) / (Σ_c w_c (Σ p + Σ t) + s),   w_c = 1 / (Σ t)²

    For classes that overlap and differ strongly in size. For exclusive ones use
    :func:`softmax_generalized_dice_loss`.

    Shapes:
        logits: (N, C, *), or (N, *) with `class_dim=None`; any float dtype.
        targets: floats or bools of the logits' shape, or (N, *) integer labels with -1 for background.
        returns: () or, with reduction "none", (N,), or (1,) if pooled; at least float32.

    Args:
        empty: "penalize" or "skip"; an image without any target costs the mean of p, or is skipped.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: times that an element counts, broadcastable to the logits.
        class_dim: where the classes are; None for logits without classes.
        others: as in :func:`softmax_generalized_dice_loss`.

    Raises:
        ValueError: shapes that do not fit, on the CPU a label out of range.

    Reference:
        Sudre et al. 2017, arXiv:1707.03237, section 2.1.

    Differs:
        As :func:`softmax_generalized_dice_loss`.

    Example:
        Of three pixels two are predicted, one rightly: 2 / (2 + 1).

        >>> logits = torch.tensor([[[20.0, 20.0, -20.0]]])
        >>> sigmoid_generalized_dice_loss(logits, torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor(0.3333)
    """
    sums = sigmoid_sums(
        "sigmoid_generalized_dice_loss",
        logits,
        targets,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
    )
    return generalized_dice_elements(
        "sigmoid_generalized_dice_loss", sums, weighting, smooth, empty, per_image, sync, class_weights
    ).reduce("sigmoid_generalized_dice_loss", reduction)


def generalized_dice_elements(
    caller: str,
    sums: RegionSums,
    weighting: Weighting,
    smooth: float,
    empty: Empty,
    per_image: bool,
    sync: bool,
    class_weights: Tensor | None,
) -> RegionElements:
    """From the sums to one loss an image; the classes end in one fraction, so none is left to weigh or skip."""
    check_positive(caller, "smooth", smooth, or_zero=True)
    check_option(caller, "empty", empty, ("skip", "penalize"))
    sums = pool_sums(sums, per_image=per_image, sync=sync)
    weight = _inverse_volume(caller, sums.actual, weighting, empty)
    if class_weights is not None:
        weight = weight * read_region_weights(caller, class_weights, weight)
    overlap, mass = (weight * sums.overlap).sum(1), (weight * (sums.predicted + sums.actual)).sum(1)
    loss = 1 - ratio(2 * overlap + smooth, mass + smooth)
    has_target, area = (sums.actual > 0).any(1), sums.area.sum(1)
    if empty == "penalize":
        loss = torch.where(has_target, loss, sums.predicted.sum(1) / or_one(area))
    counts = has_target if empty == "skip" else area > 0
    return RegionElements(loss, counts, counts.sum())


def _inverse_volume(caller: str, volume: Tensor, weighting: Weighting, empty: str) -> Tensor:
    """``(N, C)`` weight of each class."""
    check_option(caller, "weighting", weighting, ("square", "simple", "uniform"))
    power = {"square": 2, "simple": 1, "uniform": 0}[weighting]
    present = volume > 0
    weight = torch.where(present, or_one(volume) ** -power, 0.0)
    return weight if empty == "skip" else torch.where(present, weight, weight.amax(1, keepdim=True))


class SoftmaxGeneralizedDiceLoss(SoftmaxRegionLoss):
    """Module form of :func:`softmax_generalized_dice_loss`."""

    def __init__(
        self,
        *,
        weighting: Weighting = "square",
        smooth: float = 0.0,
        empty: Empty = "skip",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        caller = "softmax_generalized_dice_loss"
        super().__init__(caller, "linear", empty, per_image, sync, class_weights, ignore_index, class_dim, reduction)
        self.weighting: Weighting = weighting
        self.smooth = smooth

    def elements(self, sums: RegionSums) -> RegionElements:
        """One loss an image."""
        options = self.weighting, self.smooth, self.empty, self.per_image, self.sync, self.class_weights
        return generalized_dice_elements(self._caller, sums, *options)


class SigmoidGeneralizedDiceLoss(SigmoidRegionLoss):
    """Module form of :func:`sigmoid_generalized_dice_loss`."""

    def __init__(
        self,
        *,
        weighting: Weighting = "square",
        smooth: float = 0.0,
        empty: Empty = "penalize",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        caller = "sigmoid_generalized_dice_loss"
        super().__init__(caller, "linear", empty, per_image, sync, class_weights, ignore_index, class_dim, reduction)
        self.weighting: Weighting = weighting
        self.smooth = smooth

    def elements(self, sums: RegionSums) -> RegionElements:
        """One loss an image."""
        options = self.weighting, self.smooth, self.empty, self.per_image, self.sync, self.class_weights
        return generalized_dice_elements(self._caller, sums, *options)

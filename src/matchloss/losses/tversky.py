"""Tversky loss: :func:`softmax_tversky_loss` and :func:`sigmoid_tversky_loss`."""

from collections.abc import Sequence

from torch import Tensor

from .._core import Reduction, check_positive
from ._region import Empty, Form, RegionSums, ratio
from ._region_body import sigmoid_region, softmax_region
from ._region_module import SigmoidRegionLoss, SoftmaxRegionLoss


def softmax_tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    form: Form = "linear",
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
    """One minus the Tversky index: Dice with misses and false alarms weighed apart.

        L = 1 - (TP + s) / (TP + α FP + β FN + s),   TP = Σ p t,   FP = Σ p - TP,   FN = Σ t - TP

    For regions that must not be missed (β > α) or must not be seen where there is nothing (α > β). α = β = 1/2 is the
    Dice loss, α = β = 1 the Jaccard loss; α + β need not be 1.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, C) with 0 where skipped; (1, C) if pooled; at least float32.

    Args:
        alpha: weight of the false positives, >= 0.
        beta: weight of the false negatives, >= 0.
        smooth: s, added above and below, on the scale of true positives: 0.5 here is 1 in the Dice loss.
        form: "linear", "squared" or "min", see :func:`softmax_dice_loss`.
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
        ValueError: shapes that do not fit, negative alpha or beta, on the CPU a label out of range.

    Reference:
        Salehi et al. 2017, arXiv:1706.05721.

    Differs:
        The defaults are the paper's best; kornia has none, MONAI and segmentation_models_pytorch 0.5 and 0.5,
        mmsegmentation demands α + β = 1. Per class, so that α and β differ: pooled over classes they cannot.

    Example:
        Two pixels, p = 0.5 everywhere, one pixel of each class: TP = FP = FN = 1/2 for both, whatever α + β = 1.

        >>> softmax_tversky_loss(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]))
        tensor(0.5000)
    """
    return softmax_region(
        "softmax_tversky_loss",
        logits,
        targets,
        lambda sums: tversky_of(sums, alpha, beta, smooth),
        form=form,
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


def sigmoid_tversky_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
    form: Form = "linear",
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
    """One minus the Tversky index of binary maps: Dice with misses and false alarms weighed apart.

        L = 1 - (TP + s) / (TP + α FP + β FN + s),   TP = Σ p t,   FP = Σ p - TP,   FN = Σ t - TP

    For small objects that must not be missed (β > α). α = β = 1/2 is :func:`sigmoid_dice_loss`, α = β = 1
    :func:`sigmoid_jaccard_loss`.

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
        others: as in :func:`softmax_tversky_loss`.

    Raises:
        ValueError: shapes that do not fit, negative alpha or beta, on the CPU a label out of range.

    Reference:
        Salehi et al. 2017, arXiv:1706.05721.

    Differs:
        The defaults are the paper's best; MONAI and segmentation_models_pytorch have 0.5 and 0.5. An empty target
        costs the false alarms here.

    Example:
        Of three pixels two are predicted, one rightly: 1 / (1 + 0.3).

        >>> logits = torch.tensor([[[20.0, 20.0, -20.0]]])
        >>> sigmoid_tversky_loss(logits, torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor(0.2308)
    """
    return sigmoid_region(
        "sigmoid_tversky_loss",
        logits,
        targets,
        lambda sums: tversky_of(sums, alpha, beta, smooth),
        form=form,
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


def tversky_of(sums: RegionSums, alpha: float, beta: float, smooth: float) -> Tensor:
    """The formula; options are checked here for function and module alike."""
    for name, value in (("alpha", alpha), ("beta", beta), ("smooth", smooth)):
        check_positive("tversky", name, value, or_zero=True)
    errors = alpha * (sums.predicted - sums.overlap) + beta * (sums.actual - sums.overlap)
    return 1 - ratio(sums.overlap + smooth, sums.overlap + errors + smooth)


class SoftmaxTverskyLoss(SoftmaxRegionLoss):
    """Module form of :func:`softmax_tversky_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 0.0,
        form: Form = "linear",
        empty: Empty = "skip",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            "softmax_tversky_loss", form, empty, per_image, sync, class_weights, ignore_index, class_dim, reduction
        )
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return tversky_of(sums, self.alpha, self.beta, self.smooth)


class SigmoidTverskyLoss(SigmoidRegionLoss):
    """Module form of :func:`sigmoid_tversky_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        smooth: float = 0.0,
        form: Form = "linear",
        empty: Empty = "penalize",
        per_image: bool = True,
        sync: bool = False,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(
            "sigmoid_tversky_loss", form, empty, per_image, sync, class_weights, ignore_index, class_dim, reduction
        )
        self.alpha = alpha
        self.beta = beta
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return tversky_of(sums, self.alpha, self.beta, self.smooth)

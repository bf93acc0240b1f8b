"""Jaccard loss, the IoU loss of segmentation: :func:`softmax_jaccard_loss` and :func:`sigmoid_jaccard_loss`."""

from collections.abc import Sequence

from torch import Tensor

from .._core import Reduction, check_positive
from ._region import Empty, Form, RegionSums, ratio
from ._region_body import sigmoid_region, softmax_region
from ._region_module import SigmoidRegionLoss, SoftmaxRegionLoss


def softmax_jaccard_loss(
    logits: Tensor,
    targets: Tensor,
    *,
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
    """One minus the soft intersection over union of each class: the IoU loss of segmentation.

        L = 1 - (Σ p t + s) / (Σ p + Σ t - Σ p t + s),   p = softmax(logits)

    The measure that segmentation is judged by, made soft. J = D / (2 - D) of the Dice loss's D: the same order, but a
    bad region weighs more. :func:`lovasz_softmax_loss` is the tight convex surrogate of the same measure.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, C) with 0 where skipped; (1, C) if pooled; at least float32.

    Args:
        smooth: s, added above and below; damps the gradient of very small regions.
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
        ValueError: shapes that do not fit, on the CPU a label out of range.

    Reference:
        Rahman & Wang 2016, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation.

    Differs:
        segmentation_models_pytorch: `empty="zero", per_image=False, form="min"`. MONAI's
        ``DiceLoss(jaccard=True)`` is `smooth=5e-6, empty="keep"`: its smooth_nr and smooth_dr count half.

    Example:
        Two pixels, p = 0.5 everywhere, one pixel of each class: 0.5 / (1 + 1 - 0.5) = 1/3 for both.

        >>> softmax_jaccard_loss(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]))
        tensor(0.6667)
    """
    return softmax_region(
        "softmax_jaccard_loss",
        logits,
        targets,
        lambda sums: jaccard_of(sums, smooth),
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


def sigmoid_jaccard_loss(
    logits: Tensor,
    targets: Tensor,
    *,
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
    """One minus the soft intersection over union of binary maps, each by itself.

        L = 1 - (Σ p t + s) / (Σ p + Σ t - Σ p t + s),   p = sigmoid(logits)

    For one foreground class or classes that overlap; for exclusive classes use :func:`softmax_jaccard_loss`. Against
    :func:`sigmoid_dice_loss` a bad region weighs more.

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
        others: as in :func:`softmax_jaccard_loss`.

    Raises:
        ValueError: shapes that do not fit, on the CPU a label out of range.

    Reference:
        Rahman & Wang 2016, Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation.

    Differs:
        segmentation_models_pytorch: `empty="zero", per_image=False, form="min"`. An empty target costs the false
        alarms here, and nothing there.

    Example:
        Of three pixels two are predicted, one rightly: 1 / 2.

        >>> logits = torch.tensor([[[20.0, 20.0, -20.0]]])
        >>> sigmoid_jaccard_loss(logits, torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor(0.5000)
    """
    return sigmoid_region(
        "sigmoid_jaccard_loss",
        logits,
        targets,
        lambda sums: jaccard_of(sums, smooth),
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


def jaccard_of(sums: RegionSums, smooth: float) -> Tensor:
    """The formula; ``smooth`` is checked here for function and module alike."""
    check_positive("jaccard", "smooth", smooth, or_zero=True)
    union = sums.predicted + sums.actual - sums.overlap
    return 1 - ratio(sums.overlap + smooth, union + smooth)


class SoftmaxJaccardLoss(SoftmaxRegionLoss):
    """Module form of :func:`softmax_jaccard_loss`."""

    def __init__(
        self,
        *,
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
            "softmax_jaccard_loss", form, empty, per_image, sync, class_weights, ignore_index, class_dim, reduction
        )
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return jaccard_of(sums, self.smooth)


class SigmoidJaccardLoss(SigmoidRegionLoss):
    """Module form of :func:`sigmoid_jaccard_loss`."""

    def __init__(
        self,
        *,
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
            "sigmoid_jaccard_loss", form, empty, per_image, sync, class_weights, ignore_index, class_dim, reduction
        )
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return jaccard_of(sums, self.smooth)

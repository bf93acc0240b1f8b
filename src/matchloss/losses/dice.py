"""Dice loss: :func:`softmax_dice_loss` and :func:`sigmoid_dice_loss`."""

from collections.abc import Sequence

from torch import Tensor

from .._core import Reduction, check_positive
from ._region import Empty, Form, RegionSums, ratio
from ._region_body import sigmoid_region, softmax_region
from ._region_module import SigmoidRegionLoss, SoftmaxRegionLoss


def softmax_dice_loss(
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
    """One minus the soft Dice overlap (F1) of each class, whatever the size of its region.

        L = 1 - (2 Σ p t + s) / (Σ p + Σ t + s),   p = softmax(logits)

    For small regions in large images. Its gradient at a pixel grows as the region shrinks, so it is rarely stable
    alone: add :func:`cross_entropy_loss`. :func:`softmax_jaccard_loss` is a monotone function of it,
    :func:`softmax_tversky_loss` weighs misses against false alarms.

    Shapes:
        logits: (N, C, *), any float dtype, C >= 2.
        targets: (N, *) integer labels, or (N, C, *) one-hot, smoothed or mixed targets.
        returns: () or, with reduction "none", (N, C) with 0 where skipped ((1, C) if not `per_image`), float32
            (float64 for float64).

    Args:
        smooth: s, added above and below; damps the gradient of very small regions.
        form: "linear" as above; "squared" has Σ p² + Σ t² below (V-Net); "min" has Σ min(p, t) above, so that soft
            targets are matched best by p = t.
        empty: what a class without target in the image costs. "skip": not counted; "penalize": the mean of p, so that
            false alarms cost; "keep": the formula, whatever `smooth` makes of it; "zero": nothing, but it counts in
            the mean.
        per_image: sums over each image; False pools the batch, whose value then depends on the batch size.
        sync: with `per_image=False`, pool over all ranks.
        class_weights: (C,) factor per class; `mean` divides by the summed weights of what counts. (0, 1, 1, ...)
            leaves the background out.
        ignore_index: label that does not count; None to have no such label.
        mask: (N, *) bool, False = leave out.
        weights: (N, *) times that an element counts in every sum.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the images and classes that count; none gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, on the CPU a label out of range.

    Reference:
        Milletari et al. 2016, arXiv:1606.04797, section 3 (squared form); Drozdzal et al. 2016, arXiv:1608.04117
        (linear form).

    Differs:
        MONAI: `smooth=1e-5, empty="keep"`, without background `class_weights=(0, 1, ...)`. segmentation_models_pytorch
        counts s twice: its `smooth=1` is 2 here, with `empty="zero", per_image=False, form="min"`. kornia's default
        "micro" is :func:`softmax_generalized_dice_loss` with uniform weights, which is 1 - mean p of the label.
        None of them may see an ignored pixel here, and half precision sums in float32.

    Example:
        Two pixels, p = 0.5 everywhere, one pixel of each class: 2 * 0.5 / (1 + 1) = 0.5 for both.

        >>> softmax_dice_loss(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]))
        tensor(0.5000)
    """
    return softmax_region(
        "softmax_dice_loss",
        logits,
        targets,
        lambda sums: dice_of(sums, smooth),
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


def sigmoid_dice_loss(
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
    """One minus the soft Dice overlap (F1) of binary maps, each by itself.

        L = 1 - (2 Σ p t + s) / (Σ p + Σ t + s),   p = sigmoid(logits)

    For one foreground class, for classes that overlap, and for the masks of set prediction. For exclusive classes use
    :func:`softmax_dice_loss`.

    Shapes:
        logits: (N, C, *), or (N, *) with `class_dim=None`; any float dtype.
        targets: floats or bools of the logits' shape, or (N, *) integer labels with -1 for background.
        returns: () or, with reduction "none", (N, C) with 0 where skipped ((1, C) if not `per_image`), float32
            (float64 for float64).

    Args:
        smooth: s, added above and below.
        form: "linear", "squared" or "min", see :func:`softmax_dice_loss`.
        empty: what a map without target costs: "penalize" the mean of p, since false alarms on an empty image must
            cost; "skip", "keep", "zero" as in :func:`softmax_dice_loss`.
        per_image: sums over each image; False pools the batch.
        sync: with `per_image=False`, pool over all ranks.
        class_weights: (C,) factor per class; `mean` divides by the summed weights of what counts.
        ignore_index: label that does not count; only with labels.
        mask: bool, broadcastable to the logits, False = leave out.
        weights: times that an element counts, broadcastable to the logits.
        class_dim: where the classes are; None for logits without classes, such as (queries, H, W).
        reduction: "none", "sum" or "mean" over the images and classes that count; none gives 0.

    Raises:
        ValueError: shapes that do not fit, on the CPU a label out of range.

    Reference:
        Milletari et al. 2016, arXiv:1606.04797, section 3 (squared form); Drozdzal et al. 2016, arXiv:1608.04117
        (linear form).

    Differs:
        DETR and transformers: `smooth=1, empty="keep", class_dim=None`, `reduction="sum"` over the number of boxes.
        A target of the logits' size but another shape is an error, not a silent reshape.

    Example:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0]]])
        >>> sigmoid_dice_loss(logits, torch.tensor([[[1.0, 0.0, 0.0]]]))
        tensor(0.3333)

        The same two pixels predicted on an empty image cost their share of the area, 2/3:

        >>> sigmoid_dice_loss(logits, torch.zeros(1, 1, 3))
        tensor(0.6667)
    """
    return sigmoid_region(
        "sigmoid_dice_loss",
        logits,
        targets,
        lambda sums: dice_of(sums, smooth),
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


def dice_of(sums: RegionSums, smooth: float) -> Tensor:
    """The formula; ``smooth`` is checked here for function and module alike."""
    check_positive("dice", "smooth", smooth, or_zero=True)
    return 1 - ratio(2 * sums.overlap + smooth, sums.predicted + sums.actual + smooth)


class SoftmaxDiceLoss(SoftmaxRegionLoss):
    """Module form of :func:`softmax_dice_loss`."""

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
            "softmax_dice_loss", form, empty, per_image, sync, class_weights, ignore_index, class_dim, reduction
        )
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return dice_of(sums, self.smooth)


class SigmoidDiceLoss(SigmoidRegionLoss):
    """Module form of :func:`sigmoid_dice_loss`."""

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
            "sigmoid_dice_loss", form, empty, per_image, sync, class_weights, ignore_index, class_dim, reduction
        )
        self.smooth = smooth

    def region_loss(self, sums: RegionSums) -> Tensor:
        """The loss of each image and class."""
        return dice_of(sums, self.smooth)

"""Hausdorff loss by distance transforms: :func:`hausdorff_loss` and :func:`sigmoid_hausdorff_loss`."""

from collections.abc import Sequence

from torch import Tensor

from .._core import LossModule, Reduction, check_positive
from ._maps import Maps, sigmoid_maps, softmax_maps
from .distance_maps import boundary_distances


def hausdorff_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 2.0,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared error weighed by how far a pixel is from the predicted and from the true boundary.

        L = 1/C Σ_c (p_c - t_c)² (D(p_c > 1/2)^α + D(t_c)^α),   p = softmax(logits),   D = distance to the boundary

    Lowers the largest error of the outline, which region losses hardly see. Beside a region loss, not alone: its
    values are squared pixels, and it is flat while nothing is predicted. D is a constant of the gradient.
    :func:`boundary_loss` looks at the target's boundary alone and can be fed from the data loader.

    Shapes:
        logits: (N, C, H, W) or (N, C, D, H, W), any float dtype, C >= 2.
        targets: (N, H, W) or (N, D, H, W) integer labels, or floats of the logits' shape, D read as regions above 0.5.
        returns: () or, with reduction "none", the shape of the labels, float32 (float64 for float64).

    Args:
        alpha: how much more a far error costs than a near one, > 0.
        classes: indices of the classes that count; None for all. Mostly all but the background.
        ignore_index: label that does not count; None to have no such label. For D its pixels are outside of every
            class, in the target and in the prediction.
        mask: (N, *) bool, False = leave out, as ignored.
        weights: (N, *) factor per element; does not change the divisor of `mean`.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, classes that do not fit, alpha <= 0, on the CPU a label out of
            range.

    Reference:
        Karimi and Salcudean 2019, arXiv:1904.10030, the form by distance transforms.

    Differs:
        D is computed by scipy on the host, exactly; on a GPU that waits for the device. As in MONAI D runs on both
        sides of the boundary and is 0 everywhere if a region is empty or fills the image. MONAI's
        ``HausdorffDTLoss``: the same with `classes=range(1, C)`; its "sum" is of (N, C) means. mmsegmentation
        compares probabilities with raw label numbers, which is wrong beyond two classes.

    Example:
        The right pixel of three is of class 1 and nobody is sure: p = 1/2 everywhere, so no class has a predicted
        region. D = (2, 1, 1) for both classes: 1/4 * (4 + 1 + 1) / 3.

        >>> hausdorff_loss(torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 0, 1]]]))
        tensor(0.5000)
    """
    caller = "hausdorff_loss"
    maps = softmax_maps(
        caller,
        logits,
        targets,
        classes=classes,
        ignore_index=ignore_index,
        mask=mask,
        weights=weights,
        class_dim=class_dim,
    )
    return maps.reduce(caller, _errors(caller, maps, alpha), reduction)


def sigmoid_hausdorff_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float = 2.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int | None = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared error weighed by the distance to the predicted and the true boundary, of binary maps, each by itself.

        L = (p - t)² (D(p > 1/2)^α + D(t)^α),   p = sigmoid(logits),   D = distance to the boundary

    For one foreground class and for classes that overlap; for exclusive classes use :func:`hausdorff_loss`.

    Shapes:
        logits: (N, C, H, W) or (N, C, D, H, W), or without C with `class_dim=None`; any float dtype.
        targets: floats or bools of the logits' shape, or integer labels without C, -1 = background.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        alpha: how much more a far error costs than a near one, > 0.
        ignore_index: label that does not count; only with labels. For D its pixels are outside.
        mask: bool, broadcastable to the logits, False = leave out, as ignored.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        class_dim: where the classes are; None for logits without classes, such as (queries, H, W).
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, alpha <= 0, on the CPU a label out of range.

    Reference:
        Karimi and Salcudean 2019, arXiv:1904.10030, the form by distance transforms.

    Differs:
        D as in :func:`hausdorff_loss`, on the host, which on a GPU waits for the device; equal to MONAI's
        ``HausdorffDTLoss(sigmoid=True)``.

    Example:
        The right pixel of three is the region and all three are predicted, almost surely: the predicted region fills
        the image and has no boundary, the true one has D = (2, 1, 1): (4 + 1 + 0) / 3.

        >>> sigmoid_hausdorff_loss(torch.full((1, 1, 1, 3), 20.0), torch.tensor([[[[0.0, 0.0, 1.0]]]]))
        tensor(1.6667)
    """
    caller = "sigmoid_hausdorff_loss"
    maps = sigmoid_maps(
        caller, logits, targets, ignore_index=ignore_index, mask=mask, weights=weights, class_dim=class_dim
    )
    return maps.reduce(caller, _errors(caller, maps, alpha), reduction)


def _errors(caller: str, maps: Maps, alpha: float) -> Tensor:
    """The formula, before the mean over classes."""
    check_positive(caller, "alpha", alpha)
    spacing = [1.0] * (maps.probs.ndim - 2)
    predicted, actual = (
        boundary_distances(region.detach() > 0.5, spacing, maps.probs.dtype).abs()
        for region in (maps.probs, maps.targets)
    )
    error: Tensor = (maps.probs - maps.targets).square()
    distance: Tensor = predicted.pow(alpha) + actual.pow(alpha)
    return error * distance


class HausdorffLoss(LossModule):
    """Module form of :func:`hausdorff_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.classes = classes
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return hausdorff_loss(
            logits,
            targets,
            alpha=self.alpha,
            classes=self.classes,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )


class SigmoidHausdorffLoss(LossModule):
    """Module form of :func:`sigmoid_hausdorff_loss`."""

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return sigmoid_hausdorff_loss(
            logits,
            targets,
            alpha=self.alpha,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )

"""Boundary loss: :func:`boundary_loss` and :func:`sigmoid_boundary_loss`."""

from collections.abc import Sequence

from torch import Tensor

from .._core import LossModule, Reduction, check_float, check_same_shape
from ._map_inputs import class_first
from ._maps import Maps, pick, sigmoid_maps, softmax_maps
from .distance_maps import check_space, signed_distances


def boundary_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    distance_maps: Tensor | None = None,
    classes: Sequence[int] | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean signed distance to the true region of what is predicted: far false alarms cost most, far hits earn most.

        L = 1/C Σ_c p_c φ_c,   p = softmax(logits),   φ_c = distance to the region of class c, negative inside

    Beside a region loss, for small regions in large images: alone it has its minimum far below 0 and a trivial one at
    nothing predicted. The authors raise its weight slowly while that of Dice falls. It looks at the target's boundary
    alone; :func:`hausdorff_loss` also at the prediction's.

    Shapes:
        logits: (N, C, H, W) or (N, C, D, H, W), any float dtype, C >= 2.
        targets: (N, H, W) or (N, D, H, W) integer labels, or floats of the logits' shape, read as regions above 0.5.
        returns: () or, with reduction "none", the shape of the labels, float32 (float64 for float64).

    Args:
        distance_maps: φ of the logits' shape, from :func:`signed_distance_maps` in the data loader. None computes it
            here with scipy on the host, which on a GPU waits for the device.
        classes: indices of the classes that count; None for all. Mostly all but the background.
        spacing: size of a pixel along each dimension of space; only without `distance_maps`.
        ignore_index: label that does not count; None to have no such label. For φ its pixels are outside of every
            class.
        mask: (N, *) bool, False = leave out, as ignored.
        weights: (N, *) factor per element; does not change the divisor of `mean`.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, classes or spacing that do not fit, on the CPU a label out of
            range.

    Reference:
        Kervadec et al. 2019, arXiv:1812.07032, section 2.

    Differs:
        φ is that of the authors' code and MONAI: 0 at the pixels inside next to the boundary, 1 outside next to it, 0
        everywhere for a class that is absent or alone. MONAI's ``BoundaryLoss``: the same, `classes=range(1, C)` for
        ``include_background=False``; its "sum" is of (N, C) means. The authors average over chosen classes and pixels.

    Example:
        Class 1 is the left pixel, φ_1 = (0, 1, 2); class 0 the others, φ_0 = (1, 0, -1); p = 1/2: the mean of
        (1, 1, 1) / 4.

        >>> boundary_loss(torch.zeros(1, 2, 1, 3), torch.tensor([[[1, 0, 0]]]))
        tensor(0.2500)
    """
    caller = "boundary_loss"
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
    distances = _distances(caller, logits, maps, distance_maps, spacing, classes)
    return maps.reduce(caller, maps.probs * distances, reduction)


def sigmoid_boundary_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    distance_maps: Tensor | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    class_dim: int | None = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean signed distance to the true region of what is predicted, of binary maps, each by itself.

        L = p φ,   p = sigmoid(logits),   φ = distance to the region, negative inside

    For one foreground class and for classes that overlap; for exclusive classes use :func:`boundary_loss`.

    Shapes:
        logits: (N, C, H, W) or (N, C, D, H, W), or without C with `class_dim=None`; any float dtype.
        targets: floats or bools of the logits' shape, regions above 0.5, or integer labels without C, -1 = background.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        distance_maps: φ of the logits' shape; None computes it here with scipy on the host, which on a GPU waits for
            the device.
        spacing: size of a pixel along each dimension of space; only without `distance_maps`.
        ignore_index: label that does not count; only with labels. For φ its pixels are outside.
        mask: bool, broadcastable to the logits, False = leave out, as ignored.
        weights: factor per element, broadcastable to the logits; does not change the divisor of `mean`.
        class_dim: where the classes are; None for logits without classes, such as (queries, H, W).
        reduction: "none", "sum" or "mean" over the valid elements, classes included; nothing valid gives 0.

    Raises:
        ValueError: shapes or spacing that do not fit, on the CPU a label out of range.

    Reference:
        Kervadec et al. 2019, arXiv:1812.07032, section 2.

    Differs:
        φ as in :func:`boundary_loss`; equal to MONAI's ``BoundaryLoss(sigmoid=True)``.

    Example:
        The left pixel is the region, φ = (0, 1, 2), and p = 1/2:

        >>> sigmoid_boundary_loss(torch.zeros(1, 1, 1, 3), torch.tensor([[[[1.0, 0.0, 0.0]]]]))
        tensor(0.5000)
    """
    caller = "sigmoid_boundary_loss"
    maps = sigmoid_maps(
        caller, logits, targets, ignore_index=ignore_index, mask=mask, weights=weights, class_dim=class_dim
    )
    distances = _distances(caller, logits, maps, distance_maps, spacing, None)
    return maps.reduce(caller, maps.probs * distances, reduction)


def _distances(
    caller: str,
    logits: Tensor,
    maps: Maps,
    distance_maps: Tensor | None,
    spacing: Sequence[float] | None,
    classes: Sequence[int] | None,
) -> Tensor:
    """``φ`` of the chosen classes, given or computed."""
    if distance_maps is None:
        check_space(caller, maps.probs.shape[2:], spacing)
        return signed_distances(maps.targets > 0.5, spacing, maps.probs.dtype)
    if spacing is not None:
        raise ValueError(f"{caller}: expected no spacing beside distance_maps, which have it already, got {spacing}")
    check_float(caller, "distance_maps", distance_maps)
    check_same_shape(caller, {"logits": logits, "distance_maps": distance_maps})
    distances = class_first(distance_maps, maps.class_dim)
    distances = distances if classes is None else pick(distances, classes)
    return distances.to(maps.probs.dtype)


class BoundaryLoss(LossModule):
    """Module form of :func:`boundary_loss`."""

    def __init__(
        self,
        *,
        classes: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.classes = classes
        self.spacing = spacing
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        distance_maps: Tensor | None = None,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss."""
        return boundary_loss(
            logits,
            targets,
            distance_maps=distance_maps,
            classes=self.classes,
            spacing=self.spacing,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )


class SigmoidBoundaryLoss(LossModule):
    """Module form of :func:`sigmoid_boundary_loss`."""

    def __init__(
        self,
        *,
        spacing: Sequence[float] | None = None,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.spacing = spacing
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        distance_maps: Tensor | None = None,
        mask: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss."""
        return sigmoid_boundary_loss(
            logits,
            targets,
            distance_maps=distance_maps,
            spacing=self.spacing,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )

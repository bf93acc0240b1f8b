"""Centre-line Dice: :func:`soft_cldice_loss` and :func:`sigmoid_soft_cldice_loss`."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import LossModule, Reduction, check_positive, or_one, reduce_loss
from ._maps import Maps, sigmoid_maps, softmax_maps
from ._region import ratio


def soft_cldice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    iterations: int = 3,
    smooth: float = 1.0,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    class_dim: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the Dice of centre lines: whether each region's skeleton lies within the other region.

        L = 1 - 2 A B / (A + B),   A = (Σ S(p) t + s) / (Σ S(p) + s),   B = (Σ S(t) p + s) / (Σ S(t) + s)

    For vessels, roads, neurites: a gap in a thin line costs as much as in a wide one. S is a skeleton by repeated
    erosion, p = softmax(logits). It does not see the width: add :func:`softmax_dice_loss`.

    Shapes:
        logits: (N, C, H, W) or (N, C, D, H, W), any float dtype, C >= 2.
        targets: (N, H, W) or (N, D, H, W) integer labels, or floats in [0, 1] of the logits' shape.
        returns: () or, with reduction "none", (N, C) of the chosen classes, 0 where an image is ignored as a whole;
            float32 (float64 for float64).

    Args:
        iterations: erosions of the skeleton, >= 0; at least half the width of the widest line.
        smooth: s, added above and below; with s > 0 an absent class of which nothing is predicted costs 0.
        classes: indices of the classes that count; None for all. Mostly all but the background.
        ignore_index: label that does not count; None to have no such label. Its pixels are outside of every region,
            in the target and in the prediction.
        mask: (N, *) bool, False = leave out, as ignored. There are no weights per element: the loss is not a sum over
            them.
        class_dim: where the classes are.
        reduction: "none", "sum" or "mean" over images and classes; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, one channel, options out of range, on the CPU a label out of range.

    Reference:
        Shit et al. 2021, arXiv:2003.07311, eq. 1 and 2, algorithms 1 and 2.

    Differs:
        Of each class, then the mean. MONAI's ``SoftclDiceLoss`` adds up the classes of an image, adds 1e-4 to A + B,
        and before 1.5 dropped the only channel of a binary map, so that its loss was always 0. With one class left by
        `classes`, or one map, it is equal but for the 1e-4.

    Example:
        A line of three pixels in class 1, of which the prediction breaks the middle one: A = (2 + 1) / (2 + 1) and
        B = (2 + 1) / (3 + 1), so L = 1 - 2 * 0.75 / 1.75.

        >>> line = torch.tensor([[-20.0, -20.0, -20.0], [20.0, -20.0, 20.0], [-20.0, -20.0, -20.0]])
        >>> labels = torch.tensor([[[0, 0, 0], [1, 1, 1], [0, 0, 0]]])
        >>> soft_cldice_loss(torch.stack([-line, line])[None], labels, classes=[1])
        tensor(0.1429)
    """
    caller = "soft_cldice_loss"
    maps = softmax_maps(
        caller, logits, targets, classes=classes, ignore_index=ignore_index, mask=mask, class_dim=class_dim
    )
    return _cldice(caller, maps, iterations, smooth, reduction)


def sigmoid_soft_cldice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    iterations: int = 3,
    smooth: float = 1.0,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    class_dim: int | None = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """One minus the Dice of centre lines, of binary maps, each by itself.

        L = 1 - 2 A B / (A + B),   A = (Σ S(p) t + s) / (Σ S(p) + s),   B = (Σ S(t) p + s) / (Σ S(t) + s)

    For one kind of line and for kinds that cross; p = sigmoid(logits). For exclusive classes use
    :func:`soft_cldice_loss`.

    Shapes:
        logits: (N, C, H, W) or (N, C, D, H, W), or without C with `class_dim=None`; any float dtype.
        targets: floats in [0, 1] or bools of the logits' shape, or integer labels without C, -1 = background.
        returns: () or, with reduction "none", (N, C), 0 where a map is left out as a whole; float32 (float64 for
            float64).

    Args:
        iterations: erosions of the skeleton, >= 0; at least half the width of the widest line.
        smooth: s, added above and below; with s > 0 an empty map of which nothing is predicted costs 0.
        ignore_index: label that does not count; only with labels. Its pixels are outside of every region.
        mask: bool, broadcastable to the logits, False = leave out, as ignored.
        class_dim: where the classes are; None for logits without classes, such as (queries, H, W).
        reduction: "none", "sum" or "mean" over images and maps; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, options out of range, on the CPU a label out of range.

    Reference:
        Shit et al. 2021, arXiv:2003.07311, eq. 1 and 2, algorithms 1 and 2.

    Differs:
        As :func:`soft_cldice_loss`; MONAI's ``SoftclDiceLoss(sigmoid=True)`` is equal for one map but for its 1e-4.

    Example:
        A line of three pixels; nothing is predicted: A = 1 and B = 1 / (3 + 1).

        >>> line = torch.tensor([[[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]])
        >>> sigmoid_soft_cldice_loss(torch.full((1, 1, 3, 3), -20.0), line)
        tensor(0.6000)
    """
    caller = "sigmoid_soft_cldice_loss"
    maps = sigmoid_maps(caller, logits, targets, ignore_index=ignore_index, mask=mask, class_dim=class_dim)
    return _cldice(caller, maps, iterations, smooth, reduction)


def _cldice(caller: str, maps: Maps, iterations: int, smooth: float, reduction: Reduction) -> Tensor:
    """The formula for each image and class, and its reduction."""
    check_positive(caller, "smooth", smooth, or_zero=True)
    check_positive(caller, "iterations", iterations, or_zero=True)
    probs, targets = maps.probs, maps.targets
    within_target = _share(_skeleton(probs, iterations), targets, smooth)
    within_prediction = _share(_skeleton(targets, iterations), probs, smooth)
    loss = 1 - 2 * within_target * within_prediction / or_one(within_target + within_prediction)
    counts = torch.ones_like(probs, dtype=torch.bool) if maps.valid is None else maps.valid.expand_as(probs)
    return reduce_loss(caller, loss, reduction, valid=counts.flatten(2).any(2))


def _share(lines: Tensor, region: Tensor, smooth: float) -> Tensor:
    """``(N, C)`` share of the centre lines that lies within the region; all of it where there are no lines."""
    return ratio((lines * region).flatten(2).sum(2) + smooth, lines.flatten(2).sum(2) + smooth)


def _skeleton(maps: Tensor, iterations: int) -> Tensor:
    """What an opening removes, of the maps and of each erosion: ridges, and lines one pixel wide."""
    skeleton = (maps - _dilate(_erode(maps))).relu()
    for _ in range(iterations):
        maps = _erode(maps)
        ridge = (maps - _dilate(_erode(maps))).relu()
        skeleton = skeleton + (ridge - skeleton * ridge).relu()
    return skeleton


def _erode(maps: Tensor) -> Tensor:
    """Smallest value of a pixel and its neighbours along the axes; the border does not erode."""
    dims = maps.ndim - 2
    pool = F.max_pool2d if dims == 2 else F.max_pool3d
    eroded = None
    for axis in range(dims):
        kernel = [3 if axis == other else 1 for other in range(dims)]
        along = -pool(-maps, kernel, stride=1, padding=[size // 2 for size in kernel])
        eroded = along if eroded is None else torch.minimum(eroded, along)
    assert eroded is not None
    return eroded


def _dilate(maps: Tensor) -> Tensor:
    """Largest value of a pixel and all its neighbours, diagonal ones too."""
    pool = F.max_pool2d if maps.ndim == 4 else F.max_pool3d
    return pool(maps, 3, stride=1, padding=1)


class SoftClDiceLoss(LossModule):
    """Module form of :func:`soft_cldice_loss`."""

    def __init__(
        self,
        *,
        iterations: int = 3,
        smooth: float = 1.0,
        classes: Sequence[int] | None = None,
        ignore_index: int | None = -100,
        class_dim: int = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.smooth = smooth
        self.classes = classes
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the loss."""
        return soft_cldice_loss(
            logits,
            targets,
            iterations=self.iterations,
            smooth=self.smooth,
            classes=self.classes,
            ignore_index=self.ignore_index,
            mask=mask,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )


class SigmoidSoftClDiceLoss(LossModule):
    """Module form of :func:`sigmoid_soft_cldice_loss`."""

    def __init__(
        self,
        *,
        iterations: int = 3,
        smooth: float = 1.0,
        ignore_index: int | None = -100,
        class_dim: int | None = 1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.smooth = smooth
        self.ignore_index = ignore_index
        self.class_dim = class_dim
        self.reduction: Reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Compute the loss."""
        return sigmoid_soft_cldice_loss(
            logits,
            targets,
            iterations=self.iterations,
            smooth=self.smooth,
            ignore_index=self.ignore_index,
            mask=mask,
            class_dim=self.class_dim,
            reduction=self.reduction,
        )

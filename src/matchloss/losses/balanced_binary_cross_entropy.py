"""Binary cross entropy in which both kinds weigh the same: :func:`balanced_binary_cross_entropy_loss`."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import LossModule, Reduction, check_option, or_one, reduce_loss, sum_over_ranks
from ._binary_inputs import BinaryInputs, read_binary_inputs

Empty = Literal["penalize", "skip"]


def balanced_binary_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    per_image: bool = False,
    empty: Empty = "penalize",
    sync: bool = False,
    ignore_index: int | None = -100,
    mask: Tensor | None = None,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy that gives positives and negatives the same say, however many there are of each.

        L = -β t log p - (1 - β) (1 - t) log(1 - p),   β = 1 - Σt / n,   n the valid elements

    The score term of EAST and the edge term of HED. β adapts to each batch, where the alpha of
    :func:`sigmoid_focal_loss` is fixed. The mean shrinks with the rarer kind (both weigh β (1 - β) in all), so give the
    term a larger weight than a Dice term.

    Shapes:
        logits: (*), or (*, C) with labels; any float dtype; the first dimension is the image.
        targets: (*) floats in [0, 1], or (*) integer labels for (*, C) logits, -1 = background.
        returns: () or, with reduction "none", the shape of the logits, float32 (float64 for float64).

    Args:
        per_image: take β of each image instead of the whole batch.
        empty: what happens where one kind is missing, as in a batch without text. "penalize" takes β = 1/2, so that
            false positives cost; "skip" keeps the formula, whose β = 1 makes value and gradient 0.
        sync: sum the counts of β over all ranks, so that W processes see the β of the whole batch.
        ignore_index: label whose row does not count; None to have no such label.
        mask: bool, broadcastable to the logits, False = leave out, of β too.
        weights: factor per element, broadcastable to the logits; changes neither β nor the divisor of `mean`.
        reduction: "none", "sum" or "mean" over the valid elements; nothing valid gives 0.

    Raises:
        ValueError: shapes that do not fit, sync together with per_image, on the CPU a label out of range.

    Reference:
        Xie and Tu 2015, arXiv:1504.06375, eq. 2; Zhou et al. 2017, arXiv:1704.03155, section 3.4.1.

    Differs:
        The papers' formula teaches nothing where one kind is missing; that is `empty="skip"`. β is a constant for the
        gradient. Computed from logits: ports of EAST take log(p + 1e-5) or so, which caps the loss and kills the
        gradient of the worst errors.

    Example:
        One positive and three negatives at p = 1/2: β = 3/4, so the positive weighs as much as the three together.

        >>> targets = torch.tensor([1.0, 0.0, 0.0, 0.0])
        >>> balanced_binary_cross_entropy_loss(torch.zeros(4), targets, reduction="none")
        tensor([0.5199, 0.1733, 0.1733, 0.1733])

        No positive at all: half the cross entropy, or nothing.

        >>> balanced_binary_cross_entropy_loss(torch.zeros(4), torch.zeros(4))
        tensor(0.3466)
        >>> balanced_binary_cross_entropy_loss(torch.zeros(4), torch.zeros(4), empty="skip")
        tensor(0.)
    """
    check_option("balanced_binary_cross_entropy_loss", "empty", empty, ("penalize", "skip"))
    if sync and per_image:
        raise ValueError("balanced_binary_cross_entropy_loss: expected sync=False with per_image=True, got both True")
    inputs = read_binary_inputs(
        "balanced_binary_cross_entropy_loss", logits, targets, ignore_index=ignore_index, mask=mask, weights=weights
    )
    beta = _beta(inputs, per_image, empty, sync)
    positive = -beta * inputs.targets * F.logsigmoid(inputs.logits)
    negative = -(1 - beta) * (1 - inputs.targets) * F.logsigmoid(-inputs.logits)
    return reduce_loss(
        "balanced_binary_cross_entropy_loss",
        positive + negative,
        reduction,
        valid=inputs.valid,
        weights=inputs.weights,
    )


def _beta(inputs: BinaryInputs, per_image: bool, empty: Empty, sync: bool) -> Tensor:
    """Weight of the positives, broadcastable to the logits."""
    targets = inputs.targets.detach()
    valid = torch.ones_like(targets) if inputs.valid is None else inputs.valid.to(targets.dtype)
    if per_image and targets.ndim > 0:
        over = tuple(range(1, targets.ndim))
        counts = torch.stack([_sum(targets, over), _sum(valid, over)])
    else:
        counts = torch.stack([targets.sum(), valid.sum()])
    positives, elements = sum_over_ranks(counts) if sync else counts
    beta: Tensor = 1 - positives / or_one(elements)
    if empty == "penalize":
        beta = torch.where((positives == 0) | (positives == elements), 0.5, beta)
    return beta


def _sum(values: Tensor, over: tuple[int, ...]) -> Tensor:
    """Sum that keeps its dimensions; torch takes no dimensions for all of them."""
    return values.sum(over, keepdim=True) if over else values


class BalancedBinaryCrossEntropyLoss(LossModule):
    """Module form of :func:`balanced_binary_cross_entropy_loss`."""

    def __init__(
        self,
        *,
        per_image: bool = False,
        empty: Empty = "penalize",
        sync: bool = False,
        ignore_index: int | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.per_image = per_image
        self.empty: Empty = empty
        self.sync = sync
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(
        self, logits: Tensor, targets: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Compute the loss."""
        return balanced_binary_cross_entropy_loss(
            logits,
            targets,
            per_image=self.per_image,
            empty=self.empty,
            sync=self.sync,
            ignore_index=self.ignore_index,
            mask=mask,
            weights=weights,
            reduction=self.reduction,
        )

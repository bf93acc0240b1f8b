"""What every region loss is made of: per image and class, the overlap, the predicted and the actual mass."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._core import Reduction, check_option, keep_valid, or_one, reduce_loss, sum_over_ranks

Form = Literal["linear", "squared", "min"]
Empty = Literal["skip", "penalize", "keep", "zero"]


class RegionSums(NamedTuple):
    """Sums over the valid elements of each image and class, all ``(N, C)``."""

    overlap: Tensor
    """``Σ p t``, the soft count of true positives."""
    predicted: Tensor
    """``Σ p``, true and false positives."""
    actual: Tensor
    """``Σ t``, true positives and false negatives."""
    area: Tensor
    """``Σ 1``, all that is valid."""


def check_form(caller: str, form: Form) -> None:
    """Check which generalisation to soft values is asked for."""
    check_option(caller, "form", form, ("linear", "squared", "min"))


def pool_sums(sums: RegionSums, *, per_image: bool, sync: bool) -> RegionSums:
    """Add up the images of the batch, and of all ranks, where the loss is of the batch as one large image."""
    if per_image:
        return sums
    pooled = torch.stack([values.sum(0, keepdim=True) for values in sums])
    return RegionSums(*(sum_over_ranks(pooled) if sync else pooled))


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """``part / whole``, and 1 for nothing of nothing: an empty prediction of an empty region is perfect."""
    return torch.where(whole == 0, 1.0, part / or_one(whole))


def sum_by_label(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """``(N, P)`` values to ``(N, C)`` sums; in float64, since a running float32 sum of a large image loses digits."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    sums = torch.zeros(values.shape[0], classes, dtype=wide, device=values.device)
    return sums.scatter_add(1, labels, values.to(wide)).to(values.dtype)


class RegionElements(NamedTuple):
    """A region loss before the reduction."""

    loss: Tensor
    """``(N, C)`` or ``(N,)``, class weights applied."""
    valid: Tensor
    """What counts; the rest is absent or ignored."""
    total: Tensor
    """Divisor of the mean: how much counts."""

    def reduce(self, caller: str, reduction: Reduction) -> Tensor:
        """The loss as the user asked for it."""
        return reduce_loss(caller, self.loss, reduction, valid=self.valid, total=self.total)


def region_elements(
    caller: str,
    sums: RegionSums,
    region_loss: Callable[[RegionSums], Tensor],
    *,
    empty: Empty,
    per_image: bool,
    sync: bool,
    class_weights: Tensor | None,
) -> RegionElements:
    """Pool the sums, apply the formula, treat absent classes, weigh the classes."""
    sums = pool_sums(sums, per_image=per_image, sync=sync)
    loss, present = apply_empty(caller, region_loss(sums), sums, empty)
    if class_weights is None:
        return RegionElements(loss, present, present.sum())
    class_weights = read_region_weights(caller, class_weights, loss)
    return RegionElements(loss * class_weights, present, (class_weights * present).sum())


def apply_empty(caller: str, loss: Tensor, sums: RegionSums, empty: Empty) -> tuple[Tensor, Tensor]:
    """Loss with absent classes treated as ``empty`` says, and which entries count in the mean."""
    check_option(caller, "empty", empty, ("skip", "penalize", "keep", "zero"))
    has_target, has_area = sums.actual > 0, sums.area > 0
    if empty == "skip":
        return loss, has_target
    if empty == "penalize":
        loss = torch.where(has_target, loss, sums.predicted / or_one(sums.area))
    elif empty == "zero":
        loss = keep_valid(loss, has_target)
    return loss, has_area


def read_region_weights(caller: str, class_weights: Tensor, loss: Tensor) -> Tensor:
    """Check ``(C,)`` weights."""
    if class_weights.shape != loss.shape[1:]:
        expected, got = tuple(loss.shape[1:]), tuple(class_weights.shape)
        raise ValueError(f"{caller}: expected class_weights of shape {expected}, got {got}")
    return class_weights.to(loss)

"""What the criteria of scene text pool: counts and Dice's sums, over all ranks in one all-reduce."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .._core import is_distributed, keep_valid, sum_over_ranks
from ..losses._region import Form, RegionSums
from ..losses._softmax_sums import dense_sums


class Pooled(NamedTuple):
    """Sums over all ranks."""

    counts: Sequence[Tensor]
    """Each (), without a graph."""
    dice: RegionSums | None
    """Each (), with one."""
    world_size: int
    """Gradients are averaged over that many ranks, so that what is divided is divided by its count over this."""


def dice_sums(probabilities: Tensor, targets: Tensor, valid: Tensor, form: Form = "linear") -> RegionSums:
    """Of this rank's pixels ``(P,)``, each ``(1, 1)``: one map of one class."""
    counted = valid.to(targets.dtype)
    probabilities = keep_valid(probabilities, valid)
    return dense_sums(probabilities[None, None], targets[None, None], counted[None, None], form)


def pool(counts: Sequence[Tensor], dice: RegionSums | None, dtype: torch.dtype) -> Pooled:
    """Sum over ranks; the gradient of Dice's sums comes back through another all-reduce."""
    parts = [count.detach().to(dtype) for count in counts]
    if dice is not None:
        parts += [one.squeeze() for one in dice]
    totals = sum_over_ranks(torch.stack(parts))
    sums = None if dice is None else RegionSums(*totals[len(counts) :])
    # Detached, or every backward would cross ranks for a gradient of 0.
    return Pooled(totals[: len(counts)].detach().unbind(), sums, dist.get_world_size() if is_distributed() else 1)

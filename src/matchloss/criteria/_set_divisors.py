"""What the summed losses of query sets are divided by: one all-reduce for all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import normalizer as over_ranks
from ._query_sets import NamedSet


class SetLoss(NamedTuple):
    """Losses of a query set before division."""

    sums: dict[str, Tensor]
    """Term -> ``(L,)``, a sum a layer."""
    class_total: Tensor
    """``(L,)`` class weights of the counted queries."""
    targets: Tensor
    """() how many targets the set has, each as often as it stands among them."""
    copies: int
    """How often each target stands among them."""
    suffixes: tuple[str, ...]
    weight: float
    stats: dict[str, Tensor]


def of_layers(values: Tensor, named: NamedSet) -> Tensor:
    """Sum the groups of each layer: ``(L * G,)`` -> ``(L,)``."""
    return values.reshape(len(named.suffixes), -1).sum(1)


def divisors(losses: Sequence[SetLoss], number: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Of each set the class weights ``(L,)`` and the number of targets ``()``, over all ranks, divided by their number.

    Args:
        losses: of the sets.
        number: takes the place of the number of targets, for gradient accumulation.
    """
    counted = torch.cat([part for loss in losses for part in (loss.class_total, loss.targets.reshape(1))])
    # A batch without objects counts as one with one, each copy of it. Filled in place: a list of numbers would be a
    # copy to the device, for which the host may wait.
    floors = torch.cat(
        [
            part
            for loss in losses
            for part in (torch.zeros_like(loss.class_total), torch.full_like(loss.targets, loss.copies).reshape(1))
        ]
    )
    totals = over_ranks(counted, at_least=floors)
    parts = torch.split(totals, [len(loss.suffixes) + 1 for loss in losses])
    return [
        (part[:-1], part[-1] if number is None else number * loss.copies)
        for part, loss in zip(parts, losses, strict=True)
    ]

"""The k best points of every target, streamed over targets, with ties to the lowest point."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._aligned_pairs import pairs_of_rows
from ._rules import TaskAlignedRules
from ._scene import Scene


class Candidates(NamedTuple):
    """What each target selects."""

    chosen: Tensor
    """``(B, M, k)`` int64 points, all different."""
    taken: Tensor
    """``(B, M, k)`` bool; False fills up where a target selects fewer."""
    overlap: Tensor
    """``(B, M, k)``."""

    def claims(self, points: int) -> Tensor:
        """How many targets select each of so many points, ``(B, A)``."""
        counts = torch.zeros((len(self.chosen), points), dtype=torch.int64, device=self.chosen.device)
        return counts.scatter_add(1, self.chosen.flatten(1), self.taken.flatten(1).long())


def select_candidates(rules: TaskAlignedRules, scene: Scene) -> Candidates:
    """Rank points by the metric, for some targets at a time."""
    k = min(rules.topk, scene.boxes.shape[1])
    parts = []
    for rows in scene.chunks():
        pairs = pairs_of_rows(rules, scene, rows)
        ranked = pairs.passes if rules.topk_among == "inside" else pairs.possible
        index = largest(torch.where(ranked, pairs.metric, -1.0), k)
        parts.append(Candidates(index, pairs.passes.gather(2, index), pairs.overlap.gather(2, index)))
    index, taken, overlap = (torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True))
    return Candidates(index, taken, overlap)


def largest(values: Tensor, k: int) -> Tensor:
    """Places of the k largest along the last dimension; of equal ones the first.

    ``topk`` leaves the order of equal values open, so it runs again over whole numbers that are all different.
    """
    threshold = values.topk(k).values[..., -1:]
    count = values.shape[-1]
    from_the_end = torch.arange(count, 0, -1, dtype=torch.int32, device=values.device)
    order = torch.where(values > threshold, from_the_end + count, from_the_end)
    return torch.where(values >= threshold, order, 0).topk(k).indices

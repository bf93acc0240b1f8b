"""Overlaps of all targets with all anchors, a few targets at a time."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import has_numba, use_fast_path
from ..geometry import box_iou, pairwise, target_chunks
from ._targets import ReadTargets


class BestOverlap(NamedTuple):
    """Of each anchor, the target that overlaps most with it; of equals the one listed first."""

    overlap: Tensor
    """``(B, A)``, -1 where there is no target."""
    target: Tensor
    """``(B, A)`` its row."""

    @classmethod
    def none(cls, anchors: Tensor, read: ReadTargets) -> "BestOverlap":
        """Before any target is seen."""
        shape = (len(read.labels), len(anchors))
        return cls(anchors.new_full(shape, -1.0), torch.zeros(shape, dtype=torch.int64, device=anchors.device))

    def update(self, overlap: Tensor, target: Tensor) -> "BestOverlap":
        """Take what is better; an earlier target keeps what is equal."""
        better = overlap > self.overlap
        return BestOverlap(torch.where(better, overlap, self.overlap), torch.where(better, target, self.target))


def overlap_chunks(anchors: Tensor, read: ReadTargets) -> Iterator[tuple[int, Tensor]]:
    """The first row, and the IoU ``(B, m, A)`` from there on, -1 where a target or an anchor cannot match."""
    batch, targets = read.matchable.shape
    if anchors.shape[0] == 0:
        return
    for chunk in target_chunks(batch, targets, len(anchors)):
        overlap = pairwise(box_iou, read.boxes[:, chunk], anchors)
        usable = read.matchable[:, chunk, None] & (overlap >= 0)  # not so for an anchor that is NaN
        yield chunk.start, torch.where(usable, overlap, -1.0)


def best_overlaps(anchors: Tensor, read: ReadTargets) -> BestOverlap:
    """Of each of the anchors ``(A, 4)``, over all targets of its image; the target counts where they overlap."""
    if may_use_numba(anchors):
        return best_with_numba(anchors, read, 0.0, False)[0]
    best = BestOverlap.none(anchors, read)
    for start, overlap in overlap_chunks(anchors, read):
        value, index = overlap.max(1)  # the first one of equals
        best = best.update(value, index + start)
    return best


def may_use_numba(anchors: Tensor) -> bool:
    """Whether the CPU kernel may be used; without numba everything works, more slowly."""
    single = anchors.device.type == "cpu" and anchors.dtype == torch.float32
    return single and use_fast_path() and has_numba()


def best_with_numba(
    anchors: Tensor, read: ReadTargets, least: float, takes_last: bool
) -> tuple[BestOverlap, BestOverlap]:
    """Best targets and claims, as :class:`MaxIoUAssigner` makes them; -1 also where nothing overlaps.

    The first call ever on a machine compiles for some seconds; the result is kept.
    """
    from ..kernels.best_overlap_cpu import best_and_claim

    found = best_and_claim(read.boxes, read.matchable, anchors, least=least, takes_last=takes_last)
    return BestOverlap(*found[:2]), BestOverlap(*found[2:])

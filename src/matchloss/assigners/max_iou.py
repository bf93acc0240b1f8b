"""Matching by thresholds on the overlap of anchors: :class:`MaxIoUAssigner`."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, check_positive, compute_dtype
from ..types import Assignment, Targets
from ._best_overlap import BestOverlap, best_with_numba, may_use_numba, overlap_chunks
from ._targets import (
    ReadTargets,
    check_columns,
    covered_by_ignore_regions,
    read_targets,
    to_assignment,
)


@dataclass(frozen=True, kw_only=True)
class MaxIoUAssigner:
    """Anchors above one overlap are positive, those below another are background, those between count for nothing.

        target(a) = argmax_t IoU(t, a);   positive: IoU >= positive_overlap,   background: IoU < negative_overlap
        and, with low-quality matches, also the anchors of which IoU(t, a) = max_a IoU(t, a) > 0

    The matching of Faster R-CNN, SSD and RetinaNet. It needs anchors that fit the data and thresholds that fit the
    anchors; :class:`ATSSAssigner` takes its threshold from the data. ``scores`` of the result are 1.

    Shapes:
        anchors: (A, 4) xyxy in pixels.
        targets: Targets of B images, M a piece; ignore regions are never matched.
        returns: Assignment of (B, A).

    Args:
        positive_overlap: from here on an anchor is positive.
        negative_overlap: below it an anchor is background; between the two it is ignored.
        low_quality_matches: whether the anchors that overlap most with a target, all of them if tied, are positive
            even if they overlap little, or more with another target. A target that overlaps with no anchor gets none.
        min_low_quality_overlap: least overlap of such a match.
        conflict: who gets an anchor that is the best one of several targets: "overlap" the one that overlaps most
            with it, then the one listed first; "last" the one listed last; "own" the target that overlaps most with
            the anchor, even where that is none of those.
        ignore_overlap: an anchor that is not positive and has this fraction of its area in one ignore region is
            ignored.

    Raises:
        ValueError: thresholds not in 0 < negative <= positive <= 1, an unknown conflict rule, anchors of a wrong shape.

    Reference:
        Ren et al. 2015, arXiv:1506.01497, section 3.1.2; Lin et al. 2017, arXiv:1708.02002, section 4 (0.5 and 0.4).

    Differs:
        mmdetection is ``conflict="last"``: later targets overwrite earlier ones. torchvision is ``conflict="own"``,
        by which a small target beside a large one can stay without an anchor. mmdetection's result depends on the
        order in which targets are listed; "overlap" does so in exact ties alone. mmdetection ignores anchors in
        ignore regions before it matches; here an anchor that fits an object stays positive.

    Example:
        One anchor fits, one half overlaps, one is far away.

        >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [4.0, 0.0, 12.0, 8.0], [40.0, 0.0, 48.0, 8.0]])
        >>> image = {"boxes": torch.tensor([[0.0, 0.0, 9.0, 8.0]]), "labels": torch.tensor([5])}
        >>> assignment = MaxIoUAssigner()(anchors, Targets.from_list([image]))
        >>> assignment.labels, assignment.ignore
        (tensor([[ 5, -1, -1]]), tensor([[False,  True, False]]))
    """

    positive_overlap: float = 0.5
    negative_overlap: float = 0.4
    low_quality_matches: bool = True
    min_low_quality_overlap: float = 0.0
    conflict: Literal["overlap", "last", "own"] = "overlap"
    ignore_overlap: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.negative_overlap, self.positive_overlap
        if not 0 < low <= high <= 1:
            raise ValueError(
                f"MaxIoUAssigner: expected 0 < negative_overlap <= positive_overlap <= 1, got {low} and {high}"
            )
        check_positive("MaxIoUAssigner", "min_low_quality_overlap", self.min_low_quality_overlap, or_zero=True)
        check_positive("MaxIoUAssigner", "ignore_overlap", self.ignore_overlap)
        check_option("MaxIoUAssigner", "conflict", self.conflict, ("overlap", "last", "own"))

    @torch.no_grad()
    def __call__(self, anchors: Tensor, targets: Targets) -> Assignment:
        """Match."""
        check_columns("MaxIoUAssigner", "anchors", anchors, "A", 4)
        read = read_targets("MaxIoUAssigner", targets, compute_dtype(anchors))
        anchors = anchors.detach().to(read.boxes.dtype)
        best, claim = self._best_and_claim(anchors, read)
        target = torch.where(best.overlap >= self.positive_overlap, best.target, -1)
        if self.low_quality_matches:
            target = torch.where(claim.overlap > 0, best.target if self.conflict == "own" else claim.target, target)
        between = best.overlap >= self.negative_overlap
        ignore = between | covered_by_ignore_regions(read, anchors, self.ignore_overlap)
        return to_assignment(read, target, torch.ones_like(best.overlap), ignore)

    def _best_and_claim(self, anchors: Tensor, read: ReadTargets) -> tuple[BestOverlap, BestOverlap]:
        """Of each anchor the best target, and the one of those whose best anchor it is."""
        if may_use_numba(anchors):
            return best_with_numba(anchors, read, self.min_low_quality_overlap, self.conflict == "last")
        best = claim = BestOverlap.none(anchors, read)
        for start, overlap in overlap_chunks(anchors, read):
            value, index = overlap.max(1)  # the first one of equals
            best = best.update(value, index + start)
            if self.low_quality_matches:
                claim = self._update_claim(claim, overlap, start)
        return best, claim

    def _update_claim(self, claim: BestOverlap, overlap: Tensor, start: int) -> BestOverlap:
        """Of each target in ``overlap (B, m, A)``, the anchors with the largest overlap."""
        largest = overlap.amax(2, keepdim=True)
        enough = (largest > 0) & (largest >= self.min_low_quality_overlap)
        value, index = torch.where((overlap == largest) & enough, overlap, -1.0).max(1)
        if self.conflict != "last":
            return claim.update(value, index + start)
        order = torch.arange(overlap.shape[1], device=overlap.device)[:, None]
        last = torch.where((overlap == largest) & enough, order, 0).amax(1)
        return BestOverlap(
            torch.where(value > 0, value, claim.overlap), torch.where(value > 0, last + start, claim.target)
        )

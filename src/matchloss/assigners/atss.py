"""Matching by a threshold that each target sets itself: :class:`ATSSAssigner`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, check_positive, compute_dtype
from ..geometry import box_iou, inside_boxes, nothing_set, target_chunks
from ..types import Assignment, Targets
from ._best_overlap import best_overlaps, may_use_numba
from ._coverage import give_missing
from ._ranking import NEVER, first_claim, first_places, place_of, rank_keys
from ._targets import (
    ReadTargets,
    check_columns,
    check_count,
    in_ignore_regions,
    read_targets,
    to_assignment,
)


@dataclass(frozen=True, kw_only=True)
class ATSSAssigner:
    """Of the anchors nearest to a target, those are positive that overlap more than is usual among them.

        C = the ``topk`` anchors of each level whose centres are nearest to the target's
        positive: a in C, IoU(t, a) >= mean(IoU(t, C)) + std(IoU(t, C)), centre of a inside t

    Adaptive training sample selection: no threshold to choose, large and small targets get alike many positives. The
    result depends on the anchors alone, not on the predictions, so it is a steady start for those that do
    (:class:`TaskAlignedAssigner`). ``scores`` of the result are 1. For heads on points, give square anchors about the
    points, of eight strides: ``grid_anchors(sizes, strides, scales=(8,), ratios=(1,))``.

    Shapes:
        anchors: (A, 4) xyxy in pixels, level after level.
        counts: how many anchors each level has.
        targets: Targets of B images, M a piece; ignore regions are never matched.
        returns: Assignment of (B, A).

    Args:
        topk: candidates of a target on each level; a smaller level gives all it has.
        strict: whether a candidate must overlap more than the threshold, not just as much.
        inside_margin: by how many pixels more than 0 the centre of a positive must be inside its target.
        conflict: who gets an anchor that several targets selected: "selected", the one of them that overlaps most
            with it; "all", the one that overlaps most with it of all targets. Of equals the one listed first.
        min_points: how many positives each target has at least, or None. A target that has fewer takes those of its
            candidates that overlap most, also where their centres are outside, if they are free or another target
            holds them beyond its own best ``min_points``.

    Raises:
        ValueError: anchors of a wrong shape, counts that do not add up to A, an option out of range.

    Reference:
        Zhang et al. 2020, arXiv:1912.02424, algorithm 1.

    Differs:
        mmdetection has ``inside_margin=0.01``; super-gradients has ``strict=True, conflict="all"`` and cannot take
        levels smaller than ``topk``. In both, equal distances are broken as the device likes (here: lowest anchor), and
        a target with one candidate gets none, the deviation of one number being NaN (here: 0). By the published rule
        a target smaller than a stride often gets none, and so does one whose few candidates overlap half and half.

    Example:
        >>> anchors = torch.tensor([[0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0], [16.0, 0.0, 24.0, 8.0]])
        >>> image = {"boxes": torch.tensor([[1.0, 0.0, 9.0, 8.0]]), "labels": torch.tensor([5])}
        >>> ATSSAssigner()(anchors, [3], Targets.from_list([image])).labels
        tensor([[ 5, -1, -1]])
    """

    topk: int = 9
    strict: bool = False
    inside_margin: float = 0.0
    conflict: Literal["selected", "all"] = "selected"
    min_points: int | None = None

    def __post_init__(self) -> None:
        check_count("ATSSAssigner", "topk", self.topk)
        check_positive("ATSSAssigner", "inside_margin", self.inside_margin, or_zero=True)
        check_option("ATSSAssigner", "conflict", self.conflict, ("selected", "all"))
        if self.min_points is not None:
            check_count("ATSSAssigner", "min_points", self.min_points)

    @torch.no_grad()
    def __call__(self, anchors: Tensor, counts: Sequence[int], targets: Targets) -> Assignment:
        """Match."""
        check_columns("ATSSAssigner", "anchors", anchors, "A", 4)
        if sum(counts) != len(anchors):
            raise ValueError(f"ATSSAssigner: expected counts that add up to {len(anchors)} anchors, got {list(counts)}")
        read = read_targets("ATSSAssigner", targets, compute_dtype(anchors))
        anchors = anchors.detach().to(read.boxes.dtype)
        centers = anchors[:, :2] / 2 + anchors[:, 2:] / 2
        ignore = in_ignore_regions(read, centers)
        owner = torch.full_like(ignore, -1, dtype=torch.int64)
        if owner.numel() and read.labels.shape[1]:
            owner = self._owner(anchors, centers, counts, read)
        return to_assignment(read, owner, torch.ones_like(owner, dtype=anchors.dtype), ignore)

    def _owner(self, anchors: Tensor, centers: Tensor, counts: Sequence[int], read: ReadTargets) -> Tensor:
        """Row of each anchor's target."""
        places = self._nearest(centers, counts, read)
        overlap = box_iou(read.boxes[:, :, None], anchors[places])
        usable = read.matchable[..., None] & anchors.isfinite().all(-1)[places]
        overlap = torch.where(usable, overlap, 0.0)
        threshold = _threshold(overlap)
        high = overlap > threshold if self.strict else overlap >= threshold
        inside = inside_boxes(centers[places], read.boxes[:, :, None], margin=self.inside_margin)
        rows = torch.arange(places.shape[1], device=places.device)[:, None]
        keys = torch.where(usable, rank_keys(overlap, rows, largest=True), NEVER)
        claims = torch.where(high & inside, keys, NEVER)
        winner = first_claim(places, claims, len(anchors))
        owner = torch.where(winner < NEVER, place_of(winner), -1)
        if self.conflict == "all":
            owner = _settle_among_all(owner, places, claims < NEVER, anchors, read)
        if self.min_points is not None:
            # By overlap; of equals the lower level first, and there the nearer anchor.
            order = overlap.sort(dim=2, descending=True, stable=True).indices
            owner = give_missing(owner, places.gather(2, order), keys.gather(2, order), self.min_points)
        return owner

    def _nearest(self, centers: Tensor, counts: Sequence[int], read: ReadTargets) -> Tensor:
        """``(B, M, K)``: level by level the anchors with the nearest centres, nearest first."""
        if may_use_numba(centers):
            from ..kernels.nearest_centers_cpu import nearest_of_levels

            return nearest_of_levels(centers, counts, read.boxes, self.topk)
        x, y = centers.unbind(-1)
        target_x, target_y = (read.boxes[..., :2] / 2 + read.boxes[..., 2:] / 2)[..., None, :].unbind(-1)
        batch, targets = read.matchable.shape
        starts = [sum(counts[:level]) for level in range(len(counts))]
        levels = []
        for start, count in zip(starts, counts, strict=True):
            level = slice(start, start + count)
            parts = []
            for chunk in target_chunks(batch, targets, count):
                distance = (x[level] - target_x[:, chunk]).square() + (y[level] - target_y[:, chunk]).square()
                parts.append(first_places(distance, min(self.topk, count)) + start)
            levels.append(torch.cat(parts, dim=1))
        return torch.cat(levels, dim=2)


def _threshold(overlap: Tensor) -> Tensor:
    """Mean plus standard deviation over the candidates, ``(B, M, 1)``."""
    # Differences from one of them: where all are equal, their mean must not be larger by rounding.
    first = overlap[..., :1]
    difference = overlap - first
    deviation = difference.std(2, keepdim=True, correction=min(1, overlap.shape[2] - 1))
    return first + difference.mean(2, keepdim=True) + deviation


def _settle_among_all(owner: Tensor, index: Tensor, claims: Tensor, anchors: Tensor, read: ReadTargets) -> Tensor:
    """Give the anchors that several targets selected to the target that overlaps most, selected or not."""
    counts = torch.zeros_like(owner).scatter_add(1, index.flatten(1), claims.flatten(1).long())
    if nothing_set(counts > 1):
        return owner
    best = best_overlaps(anchors, read)
    return torch.where((counts > 1) & (best.overlap > 0), best.target, owner)

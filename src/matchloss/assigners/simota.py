"""Matching as cheaply as possible, each target to as many points as fit it: :class:`SimOTAAssigner`."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, check_positive, use_fast_path
from ..geometry import box_iou
from ..types import Assignment, Targets
from ._best_overlap import may_use_numba
from ._coverage import give_missing
from ._ota_choice import LATER, Choice, with_row
from ._ota_costs import background_costs, class_costs, nearness, pair_overlaps, rounded_log
from ._ota_numba import choose_with_numba, near_with_numba
from ._ranking import NEVER, first_claim, place_of, rank_keys
from ._scene import Scene, read_scene
from ._targets import check_count, in_ignore_regions, to_assignment


@dataclass(frozen=True, kw_only=True)
class SimOTAAssigner:
    """Each target gets the points that cost it least, as many as the sum of its best overlaps.

        cost(t, a) = Σ_c BCE(p_ac, [c = label of t]) - iou_weight · log IoU(t, a)
        count(t)   = max(1, floor(sum of the ``candidate_topk`` largest IoU(t, a)))

    The matching of YOLOX: what fits well early gets more points later. It is for heads on points that predict a
    box and class probabilities; ``scores`` of the result are the IoU of point and target, the soft class target.
    Points in question lie near to a target. :class:`TaskAlignedAssigner` has a product in the place of the sum, and a
    fixed number of points.

    Shapes:
        scores: (B, A, C) probabilities. With an objectness branch, as YOLOX: the root of class times objectness.
        boxes: (B, A, 4) predicted, xyxy in pixels.
        points: (A, 2) in pixels; strides: (A,) pixels from a point to its neighbour.
        targets: Targets of B images, M a piece; ignore regions are never matched.
        returns: Assignment of (B, A).

    Args:
        center_radius: how near to a target's centre a point is near, in strides, on either axis.
        candidates: which points are in question: "center", those near to a target's centre; "center_or_box", also
            those inside a target. A target takes points near to its own centre (with "center_or_box", also inside
            itself) before any other points, at whatever cost.
        candidate_topk: of how many overlaps the sum is the count.
        iou_weight: factor of the logarithm.
        eps: added to the overlap in the logarithm: what a point without overlap costs.
        conflict: who gets a point that several targets claim: "selected", the one of them it costs least; "all", the
            one it costs least of all targets. Of equals the one listed first.
        min_points: how many points each target has at least, or None. A target that has fewer, having lost them
            in conflicts, takes the cheapest that are free or that another target holds beyond its own cheapest
            ``min_points``, from its ``candidate_topk`` cheapest.

    Raises:
        ValueError: shapes that do not fit, on the CPU a label out of range, an option out of range.

    Reference:
        Ge et al. 2021, arXiv:2107.08430, section 2.1 (SimOTA).

    Differs:
        ``.yolox()`` and ``.mmdet()`` follow the rules of those projects. There the order before other points is a
        cost of 1e6 or 1e8, in whose float32 the actual cost gets lost; here it is exact. There a target can lose all of
        its points to others (mmdetection's issue 8628), hence ``min_points`` is 1 by default here, and they loop over
        images and targets, read counts on the host, hold a tensor over targets, points and classes, and fail where no
        point is in question.

    Example:
        Two points in the target; their boxes overlap with it by 1 and 1/2, in sum 1.5: one point is positive.

        >>> points, strides = torch.tensor([[4.0, 4.0], [12.0, 4.0]]), torch.tensor([8.0, 8.0])
        >>> boxes = torch.tensor([[[0.0, 0.0, 16.0, 8.0], [0.0, 0.0, 8.0, 8.0]]])
        >>> image = {"boxes": torch.tensor([[0.0, 0.0, 16.0, 8.0]]), "labels": torch.tensor([0])}
        >>> targets = Targets.from_list([image])
        >>> SimOTAAssigner()(torch.full((1, 2, 1), 0.5), boxes, points, targets, strides=strides).scores
        tensor([[1., 0.]])
    """

    center_radius: float = 2.5
    candidates: Literal["center", "center_or_box"] = "center_or_box"
    candidate_topk: int = 10
    iou_weight: float = 3.0
    eps: float = 1e-8
    conflict: Literal["selected", "all"] = "selected"
    min_points: int | None = 1

    def __post_init__(self) -> None:
        check_positive("SimOTAAssigner", "center_radius", self.center_radius)
        check_option("SimOTAAssigner", "candidates", self.candidates, ("center", "center_or_box"))
        check_count("SimOTAAssigner", "candidate_topk", self.candidate_topk)
        check_positive("SimOTAAssigner", "iou_weight", self.iou_weight, or_zero=True)
        check_positive("SimOTAAssigner", "eps", self.eps)
        check_option("SimOTAAssigner", "conflict", self.conflict, ("selected", "all"))
        if self.min_points is not None:
            check_count("SimOTAAssigner", "min_points", self.min_points)

    @classmethod
    def yolox(cls) -> "SimOTAAssigner":
        """Rules of YOLOX: points within 1.5 strides of a centre; a point goes to the cheapest of all targets."""
        return cls(center_radius=1.5, candidates="center", conflict="all", min_points=None)

    @classmethod
    def mmdet(cls) -> "SimOTAAssigner":
        """Rules of mmdetection: points in a target or within 2.5 strides of its centre, those that are both first."""
        return cls(eps=1e-7, conflict="all", min_points=None)

    @torch.no_grad()
    def __call__(
        self, scores: Tensor, boxes: Tensor, points: Tensor, targets: Targets, *, strides: Tensor
    ) -> Assignment:
        """Match."""
        scene = read_scene("SimOTAAssigner", scores, boxes, points, targets, strides)
        ignore = in_ignore_regions(scene.targets, scene.points)
        owner = torch.full_like(ignore, -1, dtype=torch.int64)
        overlap = scene.boxes.new_zeros(ignore.shape)
        if ignore.numel() and scene.targets.labels.shape[1]:
            usable = self._usable(scene)
            places = _places_in_question(scene, usable)
            if places is None:
                owner, overlap = self._match(scene, usable)
            else:
                owner_there, overlap_there = self._match(scene.at(places), usable.gather(1, places))
                owner = owner.scatter(1, places, owner_there)
                overlap = overlap.scatter(1, places, overlap_there)
        return to_assignment(scene.targets, owner, overlap, ignore)

    def _usable(self, scene: Scene) -> Tensor:
        """``(B, A)``: points in question, with finite boxes."""
        if may_use_numba(scene.boxes):
            return near_with_numba(self, scene) & scene.boxes.isfinite().all(-1)
        usable = torch.zeros_like(scene.boxes[..., 0], dtype=torch.bool)
        for rows in scene.chunks():
            near = nearness(scene, rows, self.center_radius)
            either = near.in_center if self.candidates == "center" else near.in_center | near.in_box
            usable = usable | either.any(1)
        return usable & scene.boxes.isfinite().all(-1)

    def _match(self, scene: Scene, usable: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each point's target, -1 for none, and the overlap with it."""
        choice, cheapest = self._choose(scene, usable)
        winner = first_claim(choice.places, choice.claims(), usable.shape[1])
        if self.conflict == "all":
            winner = torch.where(choice.contested(usable.shape[1]), cheapest, winner)
        owner = torch.where(winner < NEVER, place_of(winner), -1)
        if self.min_points is not None:
            owner = give_missing(owner, choice.places, choice.keys, self.min_points)
        target_boxes = scene.targets.boxes.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, 4))
        return owner, box_iou(scene.boxes, target_boxes)

    def _choose(self, scene: Scene, usable: Tensor) -> tuple[Choice, Tensor]:
        """What the targets want; ``(B, A)`` of each point the least key over all targets, NEVER where there is none."""
        if may_use_numba(scene.boxes):
            return choose_with_numba(self, scene, usable)
        background = background_costs(scene.scores)
        points = torch.arange(usable.shape[1], device=usable.device)
        cheapest = torch.full_like(usable, NEVER, dtype=torch.int64)
        k = min(self.candidate_topk, len(points))
        first, largest = [], []
        for rows in scene.chunks():
            overlap = pair_overlaps(scene, rows)
            cost = class_costs(scene, background, rows) - self.iou_weight * rounded_log(overlap + self.eps)
            cost = cost.clamp(min=0)  # of rounding
            possible = usable[:, None] & scene.targets.matchable[:, rows, None] & (cost < torch.inf)  # and not NaN
            largest.append(torch.where(possible, overlap, 0.0).topk(k).values)
            near = nearness(scene, rows, self.center_radius)
            early = near.in_center if self.candidates == "center" else near.in_center & near.in_box
            keys = rank_keys(cost, points) + torch.where(early, 0, LATER)
            keys = torch.where(possible, keys, NEVER)
            first.append(keys.topk(k, largest=False, sorted=True).values)
            if self.conflict == "all":
                cheapest = torch.minimum(cheapest, with_row(keys, rows.start).amin(1))
        return Choice.read(torch.cat(first, dim=1), torch.cat(largest, dim=1)), cheapest


def _places_in_question(scene: Scene, usable: Tensor) -> Tensor | None:
    """``(B, N)``: the usable points in their order, filled up with others, where counting them stalls no device."""
    if usable.device.type != "cpu" or not use_fast_path() or may_use_numba(scene.boxes):
        return None  # the kernel looks at no others anyway
    most = max(1, int(usable.sum(1).max()))
    return (~usable).to(torch.uint8).sort(dim=1, stable=True).indices[:, :most]

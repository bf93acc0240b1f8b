"""Task-aligned assignment: :class:`TaskAlignedAssigner`."""

import torch
from torch import Tensor

from .._core import check_option, use_triton
from ..types import Assignment, Targets
from ._aligned_numba import assign_with_numba, may_use_numba
from ._aligned_pairs import pairs_of_owners
from ._aligned_triton import assign_with_triton
from ._box_kinds import OVERLAPS, ROTATED_OVERLAPS
from ._candidates import select_candidates
from ._conflicts import settle_conflicts
from ._holdings import revise_holdings, soft_scores
from ._rules import TaskAlignedRules
from ._scene import Scene, read_scene
from ._targets import in_ignore_regions, to_assignment

CALLER = "TaskAlignedAssigner"


class TaskAlignedAssigner(TaskAlignedRules):
    """Give each target the points whose predictions are best at class and box together.

        t = s^α u^β,    soft class target of a positive = t / (max t + ε) · max u

    s is the predicted probability of the target's class, u the overlap of the predicted box with the target; both
    maxima are over the points that the target holds in the end. Each target selects its best k points in it by t, and a
    point that several select goes to one of them. So the best prediction is asked for a score of its best overlap, the
    rest for less. Assigners of priors (ATSS, max-IoU) look at geometry alone; SimOTA chooses k by itself. Three
    published variants differ in the options below: :meth:`tood`, :meth:`ppyoloe`, :meth:`yolov8`. The default has the
    rules of YOLOv8 with k, α, β and the IoU of the other two: a target fills its k places if it can, a point never goes
    to a target that does not contain it, and no constant is tied to one set of strides.

    Shapes:
        scores: (B, A, C) probabilities.
        boxes: (B, A, 4) xyxy in pixels, or (B, A, 5) rotated, with an angle in radians, clockwise on the screen.
        points: (A, 2) pixels, at best row by row.
        targets: of B images, boxes xyxy or cxcywh; or rotated, beside rotated boxes.
        strides: (A,) pixels, for `reach` alone.
        returns: Assignment of (B, A) tensors, without a gradient.

    Args:
        topk: places of a target, k.
        alpha, beta: powers of probability and overlap.
        overlap: "iou", or "ciou", which is 0 where the centres are far apart; below 0 counts as 0. Of rotated boxes
            "iou" or "probiou", which is cheaper.
        topk_among: who competes for the places: the points "inside" the target, or "all", of which those outside are
            dropped afterwards, so that a target may end with fewer, or none.
        conflict: which target gets a point that several selected: the one of highest overlap among those that
            "selected" it, among all that it lies "inside", or among "all" of the image. Under the last two a target may
            get a point that it did not select.
        margin: pixels by which a point must lie inside, more than.
        zero_metric: whether a point of metric 0 may be positive, where too few have more; its soft score is 0.
        second_topk: places after the conflicts, None for as many as there are; 1 gives a detector without NMS.
        min_side: pixels to which shorter sides of a target are widened about the centre for the inside test, or None.
        min_overlap: a pair below it is never positive.
        min_points: every target gets so many points (tiny ones too), or None. After the conflicts each target that
            holds fewer, in their order, takes the points nearest to its centre that are free or that another target
            holds beyond its own best `min_points`: none falls below. They need not lie inside, nor have any overlap.
        reach: farthest side, in strides of the point, that a prediction can express (bins - 1 of a distribution), or
            None. A point that does not reach all sides of a target is never given to it.
        eps: ε.

    Raises:
        ValueError: shapes that do not fit, options out of range, `reach` without strides, an overlap of the other
            kind of boxes; on the CPU also a class that is not in [0, C). Elsewhere, where a look would stall the
            device, such a target is not matched.

    Reference:
        Feng et al. 2021, arXiv:2108.07755 (TOOD), eq. 1 to 3. Xu et al. 2022, arXiv:2203.16250 (PP-YOLOE).

    Differs:
        Ties go to the lowest point within a target, and to the lowest target at a point; elsewhere they are left open.
        Ignore regions, empty rows and inverted boxes are never matched, points in ignore regions are no negatives,
        and a prediction that is not finite, or of a score outside of [0, 1], is never positive. In memory there are at
        most some 2^20 pairs of target and point at a time, or those of one target; on a GPU with triton none at all.
        On the CPU with numba, points that are not in a target are not looked at. Results are equal; the first call ever
        on a machine compiles for some 20 seconds. `min_points` takes a pass over the points, target by target.

    Example:
        A car with two predictions, a person with one; the person's is poor, and so is what it is asked for.

        >>> from matchloss import Targets
        >>> boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
        >>> targets = Targets.from_list([{"boxes": boxes, "labels": torch.tensor([0, 1])}])
        >>> predictions = torch.tensor([[[0.0, 0.0, 10.0, 6.0], [20.0, 0.0, 30.0, 4.0], [0.0, 0.0, 10.0, 1.0]]])
        >>> scores = torch.tensor([[[0.9, 0.0], [0.0, 0.3], [0.2, 0.0]]])
        >>> points = torch.tensor([[5.0, 3.0], [25.0, 2.0], [5.0, 1.0]])
        >>> result = TaskAlignedAssigner(topk=1, min_overlap=0.5)(scores, predictions, points, targets)
        >>> result.target_index, result.scores
        (tensor([[ 0, -1, -1]]), tensor([[0.6000, 0.0000, 0.0000]]))
        >>> TaskAlignedAssigner()(scores, predictions, points, targets).target_index
        tensor([[0, 1, 0]])
    """

    @classmethod
    def tood(cls) -> "TaskAlignedAssigner":
        """Rules of TOOD: the best 13 of all points, of which those in the target count."""
        return cls(topk_among="all", conflict="selected", margin=0.01, zero_metric=False, eps=1e-7)

    @classmethod
    def ppyoloe(cls) -> "TaskAlignedAssigner":
        """Rules of PP-YOLOE: the best 13 points in the target; a conflict is settled among all targets."""
        return cls(conflict="all", margin=1e-9)

    @classmethod
    def yolov8(cls) -> "TaskAlignedAssigner":
        """Rules of YOLOv8: the best 10 points in the target by CIoU, small targets widened to 16 pixels."""
        return cls(topk=10, alpha=0.5, overlap="ciou", margin=1e-9, min_side=16.0)

    @torch.no_grad()
    def __call__(
        self, scores: Tensor, boxes: Tensor, points: Tensor, targets: Targets, *, strides: Tensor | None = None
    ) -> Assignment:
        """Assign ``(B, A, C)`` probabilities and ``(B, A, 4)`` xyxy boxes of ``(A, 2)`` points, all in pixels."""
        if self.reach is not None and strides is None:
            raise ValueError(f"{CALLER}: expected strides=(A,) pixels, since the option reach needs them")
        rotated = boxes.shape[-1:] == (5,) or targets.box_format == "cxcywha"
        check_option(CALLER, "overlap", self.overlap, tuple(ROTATED_OVERLAPS if rotated else OVERLAPS))
        # Triton on a GPU, Numba on the CPU, the plain form elsewhere and for rotated boxes; their results are equal.
        takes_triton = not rotated and use_triton(boxes)
        if not rotated and not takes_triton and may_use_numba(boxes):
            return assign_with_numba(CALLER, self, scores, boxes, points, targets, strides)
        scene = read_scene(CALLER, scores, boxes, points, targets, strides, takes_rotated=True)
        if takes_triton:
            return assign_with_triton(self, scene)
        owner, soft = self._match(scene)
        return to_assignment(scene.targets, owner, soft, in_ignore_regions(scene.targets, scene.points))

    def _match(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Row of each point's target, and the soft score."""
        targets = scene.targets.matchable.shape[1]
        if targets == 0 or scene.boxes.numel() == 0:
            nothing = torch.zeros_like(scene.boxes[..., 0])
            return torch.full_like(nothing, -1, dtype=torch.int64), nothing
        owner = settle_conflicts(self, scene, select_candidates(self, scene))
        owner = revise_holdings(self, scene, owner)
        return owner, soft_scores(owner, pairs_of_owners(self, scene, owner), targets, self.eps)

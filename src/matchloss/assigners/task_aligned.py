"""Task-aligned assignment: :class:`TaskAlignedAssigner`."""

import torch
from torch import Tensor

from .._core import use_fast_path
from ..types import Assignment, Targets
from ._aligned_numba import assign_with_numba, has_numba
from ._aligned_pairs import pairs_of_owners
from ._candidates import select_candidates
from ._conflicts import settle_conflicts
from ._holdings import give_points, keep_best, soft_scores
from ._rules import TaskAlignedRules
from ._scene import Scene, read_scene
from ._targets import in_ignore_regions, to_assignment


class TaskAlignedAssigner(TaskAlignedRules):
    """Give each target the points whose predictions are best at class and box together."""

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
            raise ValueError("TaskAlignedAssigner: expected strides=(A,) pixels, since the option reach needs them")
        scene = read_scene("TaskAlignedAssigner", scores, boxes, points, targets, strides)
        # Numba (CPU) takes the place of the plain form where both are there to choose from; their results are equal.
        if use_fast_path() and boxes.device.type == "cpu" and scene.boxes.dtype == torch.float32 and has_numba():
            return assign_with_numba(self, scene)
        owner, soft = self._match(scene)
        return to_assignment(scene.targets, owner, soft, in_ignore_regions(scene.targets, scene.points))

    def _match(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """Row of each point's target, and the soft score."""
        targets = scene.targets.matchable.shape[1]
        if targets == 0 or scene.boxes.numel() == 0:
            nothing = torch.zeros_like(scene.boxes[..., 0])
            return torch.full_like(nothing, -1, dtype=torch.int64), nothing
        owner = settle_conflicts(self, scene, select_candidates(self, scene))
        if self.second_topk is not None:
            owner = keep_best(owner, pairs_of_owners(self, scene, owner).metric, self.second_topk)
        if self.min_points is not None:
            metric = pairs_of_owners(self, scene, owner).metric
            owner = give_points(self, scene, owner, metric, self.min_points)
        return owner, soft_scores(owner, pairs_of_owners(self, scene, owner), targets, self.eps)

"""The bridge from the options of task-aligned assignment to its CPU kernel."""

import numpy as np
import torch

from ..types import Assignment
from ._rules import TaskAlignedRules
from ._scene import Scene

CONFLICTS = ("selected", "inside", "all")


def assign_with_numba(rules: TaskAlignedRules, scene: Scene) -> Assignment:
    """Equal to the plain form. The first call ever on a machine compiles for some ten seconds; the result is kept."""
    from ..kernels.task_aligned_cpu import assign_images
    from ..kernels.task_aligned_pairs_cpu import Numbers

    numbers = Numbers(
        topk=rules.topk,
        second_topk=rules.second_topk or 0,
        min_points=rules.min_points or 0,
        among_all=rules.topk_among == "all",
        conflict=CONFLICTS.index(rules.conflict),
        is_ciou=rules.overlap == "ciou",
        zero_metric=rules.zero_metric,
        alpha=float(rules.alpha),
        beta=float(rules.beta),
        margin=np.float32(rules.margin),
        min_side=np.float32(rules.min_side or 0),
        min_overlap=np.float32(rules.min_overlap),
        reach=np.float32(np.inf if rules.reach is None else rules.reach),
        eps=np.float32(rules.eps),
        slack=np.float32(1.001 + 1e-6 * rules.beta),
    )
    points = scene.points[0]
    strides = torch.ones_like(points[:, 0]) if scene.strides is None else scene.strides[0]
    targets = scene.targets
    return assign_images(
        numbers,
        (scene.scores, scene.boxes, points, strides),
        (targets.boxes, targets.labels, targets.matchable, targets.ignored),
    )

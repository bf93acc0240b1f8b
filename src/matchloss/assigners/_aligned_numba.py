"""The bridge from the options of task-aligned assignment to its CPU kernel."""

import numpy as np
import torch
from torch import Tensor

from .._core import compute_dtype, has_numba, use_fast_path
from ..geometry import xyxy_boxes
from ..types import Assignment, Targets
from ._rules import TaskAlignedRules
from ._scene import check_shapes
from ._targets import check_labels, read_targets

CONFLICTS = ("selected", "inside", "all")


def may_use_numba(boxes: Tensor) -> bool:
    """Whether the kernel for the CPU takes these predictions; it computes in float32."""
    return boxes.device.type == "cpu" and boxes.dtype != torch.float64 and use_fast_path() and has_numba()


def assign_with_numba(
    caller: str,
    rules: TaskAlignedRules,
    scores: Tensor,
    boxes: Tensor,
    points: Tensor,
    targets: Targets,
    strides: Tensor | None,
) -> Assignment:
    """Equal to the plain form. The first call ever on a machine compiles for some ten seconds; the result is kept.

    The kernel reads targets as they come: of a few, the small operators that would do so take longer than all the rest.
    """
    from ..kernels.task_aligned_cpu import assign_images
    from ..kernels.task_aligned_pairs_cpu import Numbers

    check_shapes(caller, scores, boxes, points, targets, strides, numbers=4)
    dtype, classes = compute_dtype(boxes), scores.shape[-1]
    target_boxes = xyxy_boxes(caller, targets).detach().to(dtype)
    labels, valid, ignore = targets.labels.long(), targets.valid, targets.ignore
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
    assignment, unknown = assign_images(
        numbers,
        (scores.detach().to(dtype), boxes.detach().to(dtype), points.to(dtype)),
        None if strides is None else strides.to(dtype),
        (target_boxes, labels, valid, ignore),
    )
    if unknown:
        read = read_targets(caller, targets, dtype)
        check_labels(caller, torch.where(read.matchable, read.labels, 0), classes)
    return assignment

"""The bridge from a set matching to its CPU kernel, which makes the costs and solves in one go."""

import numpy as np
import torch
from torch import Tensor

from .._core import check_same_shape, compute_dtype
from ..geometry import cxcywh_boxes
from ..types import Matching, Targets
from ._queries import check_shapes
from ._targets import check_labels


def match_with_numba(
    caller: str,
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    *,
    num_classes: int,
    weights: tuple[float, float, float],
    focal_alpha: float | None,
    share: bool,
) -> Matching:
    """Equal to the plain form. The first call ever on a machine compiles for some ten seconds; the result is kept."""
    from ..kernels.matching_cost_cpu import read_numbers
    from ..kernels.matching_cpu import find_usable, match_problems

    check_shapes(caller, logits, boxes, targets)
    dtype = compute_dtype(boxes)
    target_boxes = cxcywh_boxes(caller, targets).detach().to(dtype)
    labels, valid, ignore = targets.labels, targets.valid, targets.ignore
    check_same_shape(caller, {"labels": labels, "valid": valid, "ignore": ignore})
    usable = torch.empty(labels.shape, dtype=torch.bool)
    arrays: list[np.ndarray] = [values.numpy() for values in (labels, target_boxes, valid, ignore, usable)]
    if not find_usable(*arrays, num_classes):
        check_labels(caller, torch.where(valid & ~ignore, labels, 0), num_classes)
    query_of_target, target_of_query, counts = match_problems(
        logits.detach().to(dtype),
        boxes.detach().to(dtype),
        labels,
        target_boxes,
        usable,
        read_numbers(weights, focal_alpha),
        share=share,
    )
    return Matching(
        query_of_target, target_of_query, dict(zip(("matched", "surplus", "broken"), counts.unbind(), strict=True))
    )

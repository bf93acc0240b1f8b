"""The bridge from a set matching to its CPU kernel, which makes the costs and solves in one go."""

import torch
from torch import Tensor

from .._core import compute_dtype
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
    from ..kernels.matching_cpu import UNKNOWN, match_problems

    check_shapes(caller, logits, boxes, targets)
    dtype = compute_dtype(boxes)
    labels, valid, ignore = targets.labels, targets.valid, targets.ignore
    query_of_target, target_of_query, counts = match_problems(
        logits.detach().to(dtype),
        boxes.detach().to(dtype),
        (labels, cxcywh_boxes(caller, targets).detach().to(dtype), valid, ignore),
        read_numbers(weights, focal_alpha),
        num_classes,
        share=share,
    )
    if counts[UNKNOWN]:
        check_labels(caller, torch.where(valid & ~ignore, labels, 0), num_classes)
    stats = dict(zip(("matched", "surplus", "broken"), torch.from_numpy(counts).unbind()[:UNKNOWN], strict=True))
    return Matching(query_of_target, target_of_query, stats)

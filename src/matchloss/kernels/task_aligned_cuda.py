"""Task-aligned assignment of a batch on a GPU: four launches, and no tensor over targets and points.

The first goes through the points for each target and leaves the k it selects; the second settles who gets the points
that several selected; the third finds what is highest in each target, by which the fourth divides. All sizes follow
from the shapes, so that a CUDA graph can hold it.
"""

from typing import Any

import torch
import triton
from torch import Tensor

from .task_aligned_claims_cuda import select, settle
from .task_aligned_holdings_cuda import weigh, write

POINTS_A_TILE = 512
"""Looked at together by a program: 4 a thread, whose CIoU just fits into registers."""
TARGETS_A_TILE = 128
"""Compared at a contested point: one a thread."""
LEAST_LIST = 16
"""Threads of half a warp; a list has a power of two places."""
EXACT: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}
"""No product and sum in one step: torch rounds twice."""


Seen = tuple[Tensor, Tensor, Tensor, Tensor | None]
"""Scores (B, A, C), boxes (B, A, 4), points (., A, 2), and strides (., A) if they are needed; all float32."""
Wanted = tuple[Tensor, Tensor, Tensor, Tensor]
"""Boxes (B, M, 4) float32, labels (B, M), which are matchable (B, M), and which are ignore regions (B, M)."""


def claim_points(rules: Any, seen: Seen, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """Row of each point's target, -1 for none, and whether it lies in an ignore region; ``(B, A)``."""
    images, points, targets, predictions = _arguments(seen, wanted)
    device = wanted[0].device
    owner = torch.full((images, points), -1, dtype=torch.int64, device=device)
    ignore = torch.zeros((images, points), dtype=torch.bool, device=device)
    if images * points * targets == 0:
        return owner, ignore
    selected = torch.empty((images, targets, rules.topk), dtype=torch.int32, device=device)
    claims = torch.full_like(owner, -1)
    claimants = torch.zeros_like(owner, dtype=torch.int32)
    objects = [tensor.contiguous() for tensor in wanted]
    options = {"rules": rules, "LIST": max(LEAST_LIST, triton.next_power_of_2(rules.topk)), **EXACT}
    with torch.cuda.device_of(owner):  # type: ignore[no-untyped-call]
        written = (selected, claims, claimants, ignore)
        select[targets, images](*predictions, *objects, *written, points, targets, TILE=POINTS_A_TILE, **options)
        written = (selected, claims, claimants, owner)
        settle[targets, images](*predictions, *objects[:3], *written, points, targets, TILE=TARGETS_A_TILE, **options)
    return owner, ignore


def write_scores(rules: Any, seen: Seen, wanted: Wanted, owner: Tensor, ignore: Tensor) -> tuple[Tensor, Tensor]:
    """Label and soft score of each point; a point with an owner is taken out of ``ignore``, in place."""
    images, points, targets, predictions = _arguments(seen, wanted)
    label, soft = torch.full_like(owner, -1), torch.zeros(owner.shape, device=owner.device)
    if images * points * targets == 0:
        return label, soft
    highest = torch.zeros((images, targets, 2), dtype=torch.int32, device=owner.device)
    boxes, labels = (tensor.contiguous() for tensor in wanted[:2])
    grid, sizes = (triton.cdiv(points, POINTS_A_TILE), images), (points, targets)
    with torch.cuda.device_of(owner):  # type: ignore[no-untyped-call]
        weigh[grid](*predictions, boxes, labels, owner, soft, highest, *sizes, rules, POINTS_A_TILE, **EXACT)
        write[grid](labels, owner, highest, rules.eps, label, soft, ignore, *sizes, POINTS_A_TILE, **EXACT)
    return label, soft


def _arguments(seen: Seen, wanted: Wanted) -> tuple[int, int, int, tuple[Any, ...]]:
    """Images, points, targets, and what kernels read of predictions.

    Scores stay in the layout they come in, class by class as a convolution leaves them too: few of them are read.
    """
    scores, boxes, points, strides = seen
    images, count = boxes.shape[:2]
    read = (scores, boxes.contiguous(), points.contiguous(), None if strides is None else strides.contiguous())
    return images, count, wanted[0].shape[1], (*read, *scores.stride())

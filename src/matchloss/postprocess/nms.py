"""Non-maximum suppression of a batch, class by class: :func:`non_maximum_suppression`."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .._core import check_float, check_option, check_positive, has_numba, to_compute, use_fast_path
from ..geometry import box_diou, box_iou, pairwise

Criterion = Literal["iou", "diou"]
Overlap = Callable[[Tensor, Tensor], Tensor]
OVERLAPS: dict[str, Overlap] = {"iou": box_iou, "diou": box_diou}
PAIRS_AT_ONCE = 2**20
"""Of boxes, over the batch: what is compared at a time."""


class Kept(NamedTuple):
    """Boxes that were not suppressed, the best first, padded to one length."""

    indices: Tensor
    """``(..., K)`` int64 into the N boxes; 0 where padded, so that they can be gathered as they are."""
    valid: Tensor
    """``(..., K)`` bool, False where padded."""


@torch.no_grad()
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    threshold: float = 0.5,
    criterion: Criterion = "iou",
    score_threshold: float | None = None,
    candidates: int | None = None,
    max_detections: int | None = None,
) -> Kept:
    """Of boxes of one class that overlap more than a threshold, keep the one with the best score.

        keep j  <=>  no kept i before j has the label of j and overlap(i, j) > threshold

    "Before" is by higher score, then by lower index. Whatever the number of images, there is one pass and no loop over
    them. :func:`soft_nms` lowers scores instead of dropping boxes, which helps where objects of a class stand in each
    other's way; so does ``criterion="diou"``, which spares boxes whose centres are apart.

    Shapes:
        boxes: (..., N, 4) xyxy in any unit.
        scores: (..., N) finite floats, probabilities or logits; a box with a score or coordinate that is not finite is
            dropped, and suppresses nothing.
        labels: (..., N) integers, or None: all boxes are of one class.
        returns: Kept, indices and valid of (..., K), with K the least of N, ``candidates`` and ``max_detections``.

    Args:
        threshold: largest overlap two boxes of a class may have.
        criterion: "iou", or "diou": IoU minus the squared distance of the centres over the squared diagonal of the
            enclosing box.
        score_threshold: boxes must score more than this; None for no bound.
        candidates: how many of the best boxes of an image, all classes together, are looked at; None for all.
        max_detections: how many boxes of an image are kept at most; None for all.

    Raises:
        ValueError: shapes that do not fit, an unknown criterion, a number that is not positive.

    Reference:
        Zheng et al. 2020, arXiv:1911.08287, section 3.3 (DIoU-NMS).

    Differs:
        torchvision and Ultralytics keep classes apart by shifting boxes by label times the largest coordinate, by
        which float16 and large images lose the digits that decide; here labels are compared. torchvision takes one
        image, and leaves the order of equal scores open. Memory is bounded: boxes are compared block by block. On a
        GPU the host reads one flag a round, some four rounds a block; it does not trace in one graph. On the CPU
        Numba does it where it is installed, equal to the last bit; the first call ever compiles for some seconds.

    Example:
        The second box overlaps with the first, but is of another class; the third is of the same.

        >>> boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0], [1.0, 0.0, 9.0, 9.0]])
        >>> kept = non_maximum_suppression(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0]))
        >>> kept.indices[kept.valid]
        tensor([0, 1])
    """
    check_option("non_maximum_suppression", "criterion", criterion, tuple(OVERLAPS))
    for name, number in {"candidates": candidates, "max_detections": max_detections}.items():
        if number is not None:
            check_positive("non_maximum_suppression", name, number)
    shape = scores.shape[:-1]
    boxes, scores, labels = flat_inputs("non_maximum_suppression", boxes, scores, labels)
    usable = usable_boxes(boxes, scores, score_threshold)
    order = torch.where(usable, scores, -torch.inf).sort(descending=True, stable=True).indices[:, :candidates]
    ranked = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    classes, alive = labels.gather(1, order), usable.gather(1, order)
    if use_fast_path() and boxes.device.type == "cpu" and boxes.dtype == torch.float32 and has_numba():
        from ..kernels.nms_cpu import keep_greedily

        most = order.shape[1] if max_detections is None else max_detections
        kept = keep_greedily(ranked, classes, alive, is_diou=criterion == "diou", threshold=threshold, most=most)
    else:
        kept = _greedy(ranked, classes, alive, OVERLAPS[criterion], threshold)
    # Kept ones to the front, in their order.
    front = (~kept).to(torch.uint8).sort(stable=True).indices[:, :max_detections]
    valid = kept.gather(1, front)
    indices = torch.where(valid, order.gather(1, front), 0)
    return Kept(indices.reshape(*shape, valid.shape[1]), valid.reshape(*shape, valid.shape[1]))


def flat_inputs(caller: str, boxes: Tensor, scores: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Check the shapes, and make one batch dimension of the leading ones."""
    check_float(caller, "boxes", boxes)
    check_float(caller, "scores", scores)
    if boxes.shape != (*scores.shape, 4) or scores.ndim == 0:
        got = f"{tuple(boxes.shape)} and {tuple(scores.shape)}"
        raise ValueError(f"{caller}: expected boxes (..., N, 4) and scores (..., N), got {got}")
    if labels is None:
        labels = torch.zeros_like(scores, dtype=torch.int64)
    if labels.shape != scores.shape or labels.is_floating_point():
        got = f"{tuple(labels.shape)} of {labels.dtype} for {tuple(scores.shape)}"
        raise ValueError(f"{caller}: expected integer labels of the scores' shape, got {got}")
    rows, count = math.prod(scores.shape[:-1]), scores.shape[-1]
    boxes, scores = to_compute(boxes.detach()), to_compute(scores.detach())
    return boxes.reshape(rows, count, 4), scores.reshape(rows, count), labels.reshape(rows, count)


def usable_boxes(boxes: Tensor, scores: Tensor, score_threshold: float | None) -> Tensor:
    """``(B, N)``: finite, and above the threshold."""
    usable = scores.isfinite() & boxes.isfinite().all(-1)
    return usable if score_threshold is None else usable & (scores > score_threshold)


def _greedy(boxes: Tensor, labels: Tensor, usable: Tensor, overlap: Overlap, threshold: float) -> Tensor:
    """``(B, N)``: which of the boxes, best first, are kept; block by block, against those kept before."""
    batch, count = usable.shape
    kept = usable[:, :0]
    step = max(1, min(count, PAIRS_AT_ONCE // max(1, batch * count)))

    def conflict(first: slice, second: slice) -> Tensor:
        same = labels[:, first, None] == labels[:, None, second]
        return same & (pairwise(overlap, boxes[:, first], boxes[:, second]) > threshold)

    for start in range(0, count, step):
        before, block = slice(0, start), slice(start, min(start + step, count))
        beaten = (conflict(before, block) & kept[..., None]).any(1)
        kept = torch.cat([kept, _settle(conflict(block, block).triu(1), usable[:, block] & ~beaten)], dim=1)
    return kept


def _settle(conflict: Tensor, free: Tensor) -> Tensor:
    """Those of ``free (B, n)`` that no kept better one is in ``conflict (B, better, n)`` with.

    That sentence has one solution, and after k rounds the k best are settled. Mostly few rounds are needed: as many as
    the longest chain in which each suppresses the next.
    """
    kept = free
    while True:
        settled = free & ~(conflict & kept[..., None]).any(1)
        if torch.equal(settled, kept):
            return kept
        kept = settled

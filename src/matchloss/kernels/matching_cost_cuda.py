"""What it costs to match queries with targets, on a GPU: the weighted sum in one pass over each image's own targets.

L1 and GIoU are made operation by operation as in the plain form. Probabilities and the focal cost are made from
logarithms, so that they keep their digits at any logit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

QUERIES, TARGETS, CLASSES, WARPS = 128, 8, 16, 8
"""What a program holds at a time: four pairs a thread, or eight logits; as many programs as can be share a processor.

Targets go by eights, since to read them one by one would wait for memory each time.
"""


def total_costs(
    logits: Tensor,
    boxes: Tensor,
    targets: tuple[Tensor, Tensor, Tensor],
    *,
    weights: tuple[float, float, float],
    focal: tuple[float, float] | None,
) -> Tensor:
    """``(..., B, M, Q)`` weighted sums; infinity for targets that are not usable.

    Args:
        logits: (..., B, Q, C) float32.
        boxes: (..., B, Q, 4) cxcywh, float32.
        targets: labels (B, M), boxes (B, M, 4) cxcywh, float32, and which are usable (B, M).
        weights: of the class, L1 and GIoU.
        focal: alpha and gamma of a focal cost; None for minus the probability.
    """
    labels, target_boxes, usable = (values.contiguous() for values in targets)
    images, most = labels.shape
    queries, classes = logits.shape[-2:]
    total = torch.empty((*logits.shape[:-2], most, queries), dtype=torch.float32, device=logits.device)
    if not total.numel():
        return total
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _fill[total.shape[:-2].numel(), triton.cdiv(queries, QUERIES)](
            logits.contiguous(),
            boxes.contiguous(),
            labels,
            target_boxes,
            usable,
            total,
            images,
            most,
            queries,
            classes,
            *weights,
            *(focal or (0.0, 0.0)),
            is_focal=focal is not None,
            block_queries=QUERIES,
            block_targets=TARGETS,
            block_classes=CLASSES,
            num_warps=WARPS,
        )
    return total


# Not specialised: else it would be compiled again where one of these happens to be 1, or a multiple of 16.
@triton.jit(do_not_specialize=["images", "most", "queries", "classes"])
def _fill(
    logits,
    boxes,
    labels,
    target_boxes,
    usable,
    total,
    images,
    most,
    queries,
    classes,
    class_weight,
    l1_weight,
    giou_weight,
    alpha,
    gamma,
    is_focal: tl.constexpr,
    block_queries: tl.constexpr,
    block_targets: tl.constexpr,
    block_classes: tl.constexpr,
):
    """A program some queries of an image, in one layer: their costs for all of its targets."""
    batch = tl.program_id(0).to(tl.int64)
    first_target = batch % images * most
    query = tl.program_id(1) * block_queries + tl.arange(0, block_queries)
    row = batch * queries + tl.minimum(query, queries - 1)  # past the last it is read again, and not written
    logits += row * classes
    if is_focal:
        largest, log_sum = query * 0.0, query * 0.0
    else:
        largest, log_sum = _softmax_sums(logits, classes, block_queries, block_classes)
    box = _box(boxes + row * 4, query >= 0)
    for start in range(0, most, block_targets):
        target = start + tl.arange(0, block_targets)[:, None]
        counts = tl.load(usable + first_target + target, mask=target < most, other=0) != 0
        label = tl.load(labels + first_target + target, mask=counts, other=0)
        logit = tl.load(logits[None, :] + label, mask=counts, other=0.0)
        cost = _focal(logit, alpha, gamma) if is_focal else -tl.exp((logit - largest[None, :]) - log_sum[None, :])
        l1, giou = _compare(box, _box(target_boxes + (first_target + target) * 4, counts))
        cost = class_weight * cost + l1_weight * l1 + giou_weight * -giou
        place = total + (batch * most + target) * queries + query[None, :]
        tl.store(place, tl.where(counts, cost, float("inf")), mask=(target < most) & (query < queries)[None, :])


@triton.jit
def _softmax_sums(logits, classes, block_queries: tl.constexpr, block_classes: tl.constexpr):
    """Of each query the largest logit, and the logarithm of the sum of the exponentials of all others less that.

    A NaN is not the largest, but makes the sum one.
    """
    largest = tl.full([block_queries], -float("inf"), tl.float32)
    for start in range(0, classes, block_classes):
        column = start + tl.arange(0, block_classes)[None, :]
        part = tl.load(logits[:, None] + column, mask=column < classes, other=-float("inf"))
        largest = tl.maximum(largest, tl.max(part, 1))
    total = tl.zeros([block_queries], tl.float32)
    for start in range(0, classes, block_classes):
        column = start + tl.arange(0, block_classes)[None, :]
        part = tl.load(logits[:, None] + column, mask=column < classes, other=-float("inf"))
        total += tl.sum(tl.exp(part - largest[:, None]), 1)
    return largest, tl.log(total)


@triton.jit
def _focal(logit, alpha, gamma):
    """Focal loss as a positive, less that as a negative; powers of probabilities from their logarithms."""
    small = tl.log(1.0 + tl.exp(-tl.abs(logit)))
    as_positive, as_negative = tl.where(logit > 0, 0.0, -logit) + small, tl.where(logit > 0, logit, 0.0) + small
    positive = alpha * tl.exp(-gamma * as_negative) * as_positive
    return positive - (1 - alpha) * tl.exp(-gamma * as_positive) * as_negative


@triton.jit
def _box(place, mask):
    """Centre and size; zeros where there is none."""
    cx, cy = tl.load(place, mask=mask, other=0.0), tl.load(place + 1, mask=mask, other=0.0)
    return cx, cy, tl.load(place + 2, mask=mask, other=0.0), tl.load(place + 3, mask=mask, other=0.0)


@triton.jit
def _compare(box, target):
    """L1 and GIoU of queries with targets.

    Maxima and minima here lose a NaN that torch hands on. The sum does not: L1 is a NaN too, even times a weight of 0.
    """
    cx, cy, width, height = box[0][None, :], box[1][None, :], box[2][None, :], box[3][None, :]
    target_cx, target_cy, target_width, target_height = target
    l1 = tl.abs(cx - target_cx) + tl.abs(cy - target_cy) + tl.abs(width - target_width)
    l1 += tl.abs(height - target_height)
    size_x, other_x, both_x = _axis(cx, width, target_cx, target_width)
    size_y, other_y, both_y = _axis(cy, height, target_cy, target_height)
    both = both_x * both_y
    union = size_x * size_y + other_x * other_y - both
    return l1, both / tl.where(union == 0, 1.0, union) - (1 - union)


@triton.jit
def _axis(center, size, target_center, target_size):
    """Both sizes and the overlap as fractions of what encloses both; two equal points as if all were 1."""
    # Not `compare_axis` of the overlaps: its exact divisions would take forty registers more, and a cost needs none.
    low, high = center - size / 2, center + size / 2
    target_low, target_high = target_center - target_size / 2, target_center + target_size / 2
    both = tl.maximum(tl.minimum(high, target_high) - tl.maximum(low, target_low), 0.0)
    hull = tl.maximum(tl.maximum(high, low), tl.maximum(target_high, target_low))
    hull -= tl.minimum(tl.minimum(high, low), tl.minimum(target_high, target_low))
    point = tl.where(hull == 0, 1.0, 0.0)
    unit = hull + point
    length, target_length = tl.maximum(high - low, 0.0), tl.maximum(target_high - target_low, 0.0)
    return (length + point) / unit, (target_length + point) / unit, (both + point) / unit

"""What it costs to match queries with targets, on the CPU: the weighted sum in one pass, for usable targets alone.

L1 and GIoU are made operation by operation as in the plain form, in float32; the exponentials of the class costs are
rounded otherwise. No loop over queries has a branch.
"""

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .class_cost_cpu import write_focal_costs, write_probability_costs
from .threads_cpu import share_rows

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
PAIRS_A_THREAD = 2**16
"""Fewer are done before a thread has started."""


class Numbers(NamedTuple):
    """Weights and options."""

    class_weight: np.float32
    l1_weight: np.float32
    giou_weight: np.float32
    is_focal: bool
    alpha: float
    """Of a focal cost; its gamma is 2."""


def read_numbers(weights: tuple[float, float, float], focal_alpha: float | None) -> Numbers:
    """Of the weights of class, L1 and GIoU; ``focal_alpha`` is None for minus the probability."""
    class_weight, l1_weight, giou_weight = (np.float32(weight) for weight in weights)
    return Numbers(class_weight, l1_weight, giou_weight, focal_alpha is not None, float(focal_alpha or 0))


def total_costs(
    logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor, usable: Tensor, numbers: Numbers
) -> Tensor:
    """``(..., B, M, Q)`` weighted sums; infinity for targets that are not usable.

    The images are shared by as many threads as torch uses; the kernel lets go of the interpreter meanwhile.

    Args:
        logits: (..., B, Q, C) float32.
        boxes: (..., B, Q, 4) cxcywh, float32.
        labels: (B, M).
        target_boxes: (B, M, 4) cxcywh, float32.
        usable: (B, M).
        numbers: weights and options.
    """
    total = torch.full((*logits.shape[:-2], labels.shape[1], logits.shape[-2]), torch.inf)
    if not total.numel():
        return total
    predictions = tuple(tensor.contiguous().flatten(0, -3).numpy() for tensor in (logits, boxes))
    wanted = tuple(tensor.contiguous().numpy() for tensor in (labels, target_boxes, usable))
    written = total.flatten(0, -3).numpy()
    share_rows(
        lambda part: _fill_block(numbers, predictions, wanted, written, part.start, part.stop),
        len(written),
        1 + PAIRS_A_THREAD // written[0].size,
    )
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_block(numbers, predictions, wanted, total, begin, end):
    (logits, boxes), (labels, target_boxes, usable) = predictions, wanted
    columns = np.empty((8, boxes.shape[1]), np.float32)
    for p in range(begin, end):
        image = p % len(labels)
        targets = labels[image], target_boxes[image], usable[image]
        fill_costs(numbers, logits[p], boxes[p], targets, columns, total[p])


@njit(nogil=True, cache=True, error_model="numpy")
def fill_costs(numbers, logits, boxes, targets, columns, total):
    """Write the rows ``(M, Q)`` of one image's usable targets; ``columns (8, Q)`` are to work in."""
    labels, target_boxes, usable = targets
    rows = np.flatnonzero(usable)
    if numbers.is_focal:
        write_focal_costs(logits, labels, rows, numbers.class_weight, numbers.alpha, total)
    else:
        write_probability_costs(logits, labels, rows, numbers.class_weight, total)
    _write_columns(boxes, columns)
    for n in range(len(rows)):
        _add_boxes(total[rows[n]], columns, target_boxes[rows[n]], numbers)


@njit(nogil=True, cache=True)
def _write_columns(boxes, columns):
    """Centre, size and both corners, each beside the same of the next query."""
    for q in range(len(boxes)):
        for axis in range(2):
            center, size = boxes[q, axis], boxes[q, axis + 2]
            columns[axis, q], columns[axis + 2, q] = center, size
            columns[axis + 4, q], columns[axis + 6, q] = center - size * HALF, center + size * HALF


@njit(nogil=True, cache=True, error_model="numpy")
def _add_boxes(row, columns, target, numbers):
    """Add weighted L1 and GIoU of one target with all queries."""
    cx, cy, width, height = columns[0], columns[1], columns[2], columns[3]
    x1, y1, x2, y2 = columns[4], columns[5], columns[6], columns[7]
    target_cx, target_cy, target_width, target_height = target[0], target[1], target[2], target[3]
    target_x1, target_x2 = target_cx - target_width * HALF, target_cx + target_width * HALF
    target_y1, target_y2 = target_cy - target_height * HALF, target_cy + target_height * HALF
    for q in range(len(row)):
        l1 = abs(cx[q] - target_cx) + abs(cy[q] - target_cy)
        l1 = l1 + abs(width[q] - target_width) + abs(height[q] - target_height)
        size_x, other_x, both_x = _axis(x1[q], x2[q], target_x1, target_x2)
        size_y, other_y, both_y = _axis(y1[q], y2[q], target_y1, target_y2)
        both = both_x * both_y
        union = size_x * size_y + other_x * other_y - both
        giou = both / (ONE if union == ZERO else union) - (ONE - union)
        row[q] = row[q] + numbers.l1_weight * l1 + numbers.giou_weight * -giou


@njit(nogil=True, cache=True, error_model="numpy")
def _axis(low, high, other_low, other_high):
    """Both sizes and the overlap as fractions of what encloses both; two equal points as if all were 1."""
    size, other_size = _at_least_zero(high - low), _at_least_zero(other_high - other_low)
    both = _at_least_zero(_smaller(high, other_high) - _larger(low, other_low))
    hull = _larger(_larger(high, low), _larger(other_high, other_low))
    hull = hull - _smaller(_smaller(high, low), _smaller(other_high, other_low))
    point = ONE if hull == ZERO else ZERO
    unit = hull + point
    return (size + point) / unit, (other_size + point) / unit, (both + point) / unit


# These lose a NaN that torch hands on. The sum does not: L1 is a NaN too, even times a weight of 0.


@njit(nogil=True, cache=True)
def _larger(a, b):
    return a if a > b else b


@njit(nogil=True, cache=True)
def _smaller(a, b):
    return a if a < b else b


@njit(nogil=True, cache=True)
def _at_least_zero(value):
    return ZERO if value < ZERO else value

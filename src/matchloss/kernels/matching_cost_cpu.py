"""What it costs to match queries with targets, on the CPU: the weighted sum in one pass, for usable targets alone.

Probabilities, L1 and GIoU are made operation by operation as in the plain form, in float32. The focal cost needs an
exponential and a logarithm of its own, since a compiler does not do several of the library's at once. No loop over
queries has a branch.
"""

import threading
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
PAIRS_A_THREAD = 2**15
"""Fewer are done before a thread has started."""
FAR = 100.0
"""Logits beyond have a probability of 0 or 1 to all digits of float32."""
DOUBLINGS = 10


class Numbers(NamedTuple):
    """Weights and options."""

    class_weight: np.float32
    l1_weight: np.float32
    giou_weight: np.float32
    is_focal: bool
    alpha: float
    """Of a focal cost; its gamma is 2."""


def total_costs(
    values: Tensor,
    boxes: Tensor,
    targets: tuple[Tensor, Tensor, Tensor],
    *,
    weights: tuple[float, float, float],
    focal_alpha: float | None,
) -> Tensor:
    """``(..., B, M, Q)`` weighted sums; infinity for targets that are not usable.

    The images are shared by as many threads as torch uses; the kernel lets go of the interpreter meanwhile.

    Args:
        values: (..., B, Q, C) float32; logits for a focal cost, else probabilities.
        boxes: (..., B, Q, 4) cxcywh, float32.
        targets: labels (B, M), boxes (B, M, 4) cxcywh, float32, and which are usable (B, M).
        weights: of the class, L1 and GIoU.
        focal_alpha: of a focal cost, whose gamma is 2; None for minus the probability.
    """
    shape = *values.shape[:-2], targets[0].shape[1], values.shape[-2]
    total = torch.empty(shape)
    if not total.numel():
        return total
    class_weight, l1_weight, giou_weight = (np.float32(weight) for weight in weights)
    alpha = 0.0 if focal_alpha is None else float(focal_alpha)
    numbers = Numbers(class_weight, l1_weight, giou_weight, focal_alpha is not None, alpha)
    predictions = tuple(tensor.contiguous().flatten(0, -3).numpy() for tensor in (values, boxes))
    wanted = tuple(tensor.contiguous().numpy() for tensor in targets)
    written = total.flatten(0, -3).numpy()
    count = len(written)
    enough = 1 + total.numel() // PAIRS_A_THREAD
    ends = np.linspace(0, count, min(torch.get_num_threads(), count, enough) + 1).astype(int)
    work = [(numbers, predictions, wanted, written, int(begin), int(end)) for begin, end in pairwise(ends)]
    threads = [threading.Thread(target=_fill_block, args=arguments) for arguments in work[1:]]
    for thread in threads:
        thread.start()
    _fill_block(*work[0])
    for thread in threads:
        thread.join()
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _fill_block(numbers, predictions, wanted, total, begin, end):  # type: ignore[no-untyped-def]
    labels, target_boxes, usable = wanted
    values, boxes = predictions
    targets = labels.shape[1]
    columns, rows = np.empty((8, boxes.shape[1]), np.float32), np.empty(targets, np.int64)
    for p in range(begin, end):
        image, count = p % len(labels), 0
        for t in range(targets):
            if usable[image, t]:
                rows[count] = t
                count += 1
            else:
                total[p, t] = np.inf
        _gather(values[p], labels[image], rows[:count], total[p])
        _write_columns(boxes[p], columns)
        for n in range(count):
            t = rows[n]
            _weigh_classes(total[p, t], numbers)
            _add_boxes(total[p, t], columns, target_boxes[image, t], numbers)


@njit(nogil=True, cache=True)
def _gather(values, labels, rows, total):  # type: ignore[no-untyped-def]
    """Query by query: its classes lie side by side, while those of one class would be far apart."""
    for q in range(len(values)):
        for n in range(len(rows)):
            total[rows[n], q] = values[q, labels[rows[n]]]


@njit(nogil=True, cache=True)
def _write_columns(boxes, columns):  # type: ignore[no-untyped-def]
    """Centre, size and both corners, each beside the same of the next query."""
    for q in range(len(boxes)):
        for axis in range(2):
            center, size = boxes[q, axis], boxes[q, axis + 2]
            columns[axis, q], columns[axis + 2, q] = center, size
            columns[axis + 4, q], columns[axis + 6, q] = center - size * HALF, center + size * HALF


@njit(nogil=True, cache=True, error_model="numpy")
def _weigh_classes(row, numbers):  # type: ignore[no-untyped-def]
    """From probabilities, or logits, to weighted costs."""
    if not numbers.is_focal:
        for q in range(len(row)):
            row[q] = numbers.class_weight * -row[q]
        return
    positive, negative = numbers.alpha, 1 - numbers.alpha
    for q in range(len(row)):
        logit = np.float64(row[q])
        small = _exp_of_minus(abs(logit))
        far = ONE / (1.0 + small)
        near = small * far
        probability = far if logit > 0 else near
        other = near if logit > 0 else far
        as_negative = (logit if logit > 0 else 0.0) + _log_of_one_and(small)
        as_positive = as_negative - logit  # a NaN of the logit comes in here
        cost = positive * (other * other) * as_positive - negative * (probability * probability) * as_negative
        row[q] = numbers.class_weight * np.float32(cost)


@njit(nogil=True, cache=True)
def _exp_of_minus(x):  # type: ignore[no-untyped-def]
    """``exp(-x)`` of ``x >= 0``, by its first powers near 0 and repeated squares; to nine digits."""
    z = (x if x < FAR else FAR) * (1 / 2**DOUBLINGS)
    power = 1 - z * (1 - z * (1 / 2 - z * (1 / 6 - z * (1 / 24 - z * (1 / 120 - z * (1 / 720))))))
    for _ in range(DOUBLINGS):
        power *= power
    return power


@njit(nogil=True, cache=True, error_model="numpy")
def _log_of_one_and(x):  # type: ignore[no-untyped-def]
    """``log(1 + x)`` of ``x`` in [0, 1], as ``2 artanh(x / (2 + x))``, by its first powers; to nine digits."""
    s = x / (2.0 + x)
    z = s * s
    return 2 * s * (1 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13)))))))


@njit(nogil=True, cache=True, error_model="numpy")
def _add_boxes(row, columns, target, numbers):  # type: ignore[no-untyped-def]
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
def _axis(low, high, other_low, other_high):  # type: ignore[no-untyped-def]
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
def _larger(a, b):  # type: ignore[no-untyped-def]
    return a if a > b else b


@njit(nogil=True, cache=True)
def _smaller(a, b):  # type: ignore[no-untyped-def]
    return a if a < b else b


@njit(nogil=True, cache=True)
def _at_least_zero(value):  # type: ignore[no-untyped-def]
    return ZERO if value < ZERO else value

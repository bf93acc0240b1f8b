"""One pair of target and point for the CPU kernel of task-aligned assignment, as the plain form computes it."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from ..geometry import overlaps

ZERO, ONE, TWO, INFINITY = np.float32(0), np.float32(1), np.float32(2), np.float32(np.inf)
SMALLEST_SIDE, TWO_OVER_PI = np.float32(overlaps.SMALLEST_SIDE), np.float32(2 / math.pi)
TINY, SMALL, NEARLY, FOUR = np.float32(1e-30), np.float32(1e-5), np.float32(1 + 1e-5), np.float32(4)


class Numbers(NamedTuple):
    """The options as the kernel reads them: 0 where counts are off, infinity for no reach."""

    topk: int
    second_topk: int
    min_points: int
    among_all: bool
    conflict: int
    """0 selected, 1 inside, 2 all."""
    is_ciou: bool
    zero_metric: bool
    alpha: float
    beta: float
    margin: np.float32
    min_side: np.float32
    min_overlap: np.float32
    reach: np.float32
    eps: np.float32
    slack: np.float32
    """Factor above 1, for the rounding of a power."""


@njit(nogil=True, cache=True)
def corners(boxes, row):
    """One box as four numbers: to slice an array, or to pass it in a tuple, counts references, which costs more."""
    return boxes[row, 0], boxes[row, 1], boxes[row, 2], boxes[row, 3]


@njit(nogil=True, cache=True)
def pixel(points, row):
    """One point as two numbers."""
    return points[row, 0], points[row, 1]


@njit(nogil=True, cache=True, error_model="numpy")
def look_at(numbers, score, box, target, point, stride):
    """Whether the pair is possible, its metric and its overlap."""
    if not (score >= ZERO and score <= ONE and math.isfinite(box[0]) and math.isfinite(box[1])):
        return False, ZERO, ZERO
    if not (math.isfinite(box[2]) and math.isfinite(box[3])):
        return False, ZERO, ZERO
    overlap = _overlap(box, target, numbers.is_ciou)
    metric = powered(score, numbers.alpha) * powered(overlap, numbers.beta)
    if not (overlap >= ZERO and metric >= ZERO and metric < INFINITY):
        return False, ZERO, ZERO
    if numbers.reach < INFINITY:
        x, y = point
        farthest = max(max(x - target[0], target[2] - x), max(y - target[1], target[3] - y))
        if not farthest <= numbers.reach * stride:
            return False, ZERO, ZERO
    return True, metric, overlap


@njit(nogil=True, cache=True)
def are_apart(box, target):
    """Whether the overlap is surely 0: not where the target is empty, which a box of its own shape overlaps fully."""
    x_apart = min(box[2], target[2]) <= max(box[0], target[0])
    y_apart = min(box[3], target[3]) <= max(box[1], target[1])
    return (x_apart | y_apart) & (target[2] > target[0]) & (target[3] > target[1])


@njit(nogil=True, cache=True, error_model="numpy")
def overlap_bound(is_ciou, box, target):
    """What the overlap surely does not exceed, in a hurry; infinity or NaN where that cannot be told."""
    both = (min(box[2], target[2]) - max(box[0], target[0])) * (min(box[3], target[3]) - max(box[1], target[1]))
    union = (box[2] - box[0]) * (box[3] - box[1]) + (target[2] - target[0]) * (target[3] - target[1]) - both
    bound = both / union * NEARLY
    if is_ciou:  # without the angles, which take longest
        across, down = (box[0] + box[2]) - (target[0] + target[2]), (box[1] + box[3]) - (target[1] + target[3])
        wide, high = max(box[2], target[2]) - min(box[0], target[0]), max(box[3], target[3]) - min(box[1], target[1])
        bound -= (across * across + down * down) / (FOUR * (wide * wide + high * high))
    bound = SMALL if bound < ZERO else bound + SMALL
    return bound if both > TINY else INFINITY


@njit(nogil=True, cache=True)
def passes(numbers, near, point, metric, overlap):
    """Whether a possible pair may be positive."""
    if not is_inside(near, point, numbers.margin):
        return False
    return overlap >= numbers.min_overlap and (numbers.zero_metric or metric > ZERO)


@njit(nogil=True, cache=True)
def is_inside(near, point, margin):
    """Whether a point lies inside a target by more than the margin."""
    x, y = point
    return x - near[0] > margin and near[2] - x > margin and y - near[1] > margin and near[3] - y > margin


@njit(nogil=True, cache=True)
def powered(base, exponent):
    """Like the plain form's `power`, product by product."""
    if exponent == 0.5:
        return np.float32(math.sqrt(base))
    if exponent == 1.0:
        return base
    square = base * base
    if exponent == 2.0:
        return square
    if exponent == 3.0:
        return square * base
    if exponent == 4.0:
        return square * square
    if exponent == 6.0:
        cube = square * base
        return cube * cube
    if exponent == 8.0:
        return (square * square) * (square * square)
    return np.float32(math.pow(np.float64(base), exponent))


@njit(nogil=True, cache=True, error_model="numpy")
def _overlap(box, target, is_ciou):
    """`box_iou` or `box_ciou` of the geometry, but not below 0."""
    hull_x = max(max(box[2], box[0]), max(target[2], target[0])) - min(min(box[2], box[0]), min(target[2], target[0]))
    hull_y = max(max(box[3], box[1]), max(target[3], target[1])) - min(min(box[3], box[1]), min(target[3], target[1]))
    both_x = max(min(box[2], target[2]) - max(box[0], target[0]), ZERO)
    both_y = max(min(box[3], target[3]) - max(box[1], target[1]), ZERO)
    is_apart = (both_x == ZERO and hull_x > ZERO) or (both_y == ZERO and hull_y > ZERO)
    if is_apart and hull_x < INFINITY and hull_y < INFINITY:
        return ZERO  # the other terms of CIoU only lower it
    point_x, point_y = ONE if hull_x == ZERO else ZERO, ONE if hull_y == ZERO else ZERO
    unit_x, unit_y = hull_x + point_x, hull_y + point_y
    width, height = (max(box[2] - box[0], ZERO) + point_x) / unit_x, (max(box[3] - box[1], ZERO) + point_y) / unit_y
    target_width = (max(target[2] - target[0], ZERO) + point_x) / unit_x
    target_height = (max(target[3] - target[1], ZERO) + point_y) / unit_y
    intersection = ((both_x + point_x) / unit_x) * ((both_y + point_y) / unit_y)
    union = width * height + target_width * target_height - intersection
    iou = intersection / (ONE if union == ZERO else union)
    if not is_ciou:
        return iou
    longer = max(hull_x, hull_y)
    if longer == ZERO:
        longer = ONE
    wide, high = hull_x / longer, hull_y / longer
    shift_x = ((box[2] - target[2]) + (box[0] - target[0])) / TWO / unit_x * wide
    shift_y = ((box[3] - target[3]) + (box[1] - target[1])) / TWO / unit_y * high
    diagonal = wide * wide + high * high
    apart = (shift_x * shift_x + shift_y * shift_y) / (ONE if diagonal == ZERO else diagonal)
    turn = _angle(target_width * wide, target_height * high) - _angle(width * wide, height * high)
    aspect = (TWO_OVER_PI * turn) * (TWO_OVER_PI * turn)
    doubt = ONE - iou + aspect
    ciou = iou - apart - aspect / (ONE if doubt == ZERO else doubt) * aspect
    return ZERO if ciou < ZERO else ciou


@njit(nogil=True, cache=True)
def _angle(width, height):
    """In double precision and rounded; what torch computes is at times one unit in the last place away."""
    return np.float32(math.atan2(np.float64(max(width, SMALLEST_SIDE)), np.float64(max(height, SMALLEST_SIDE))))


@njit(nogil=True, cache=True)
def row_window(points, begin, end, box, margin):
    """The part of a row inside the box, by bisection: x rises."""
    y = points[begin, 1]
    if not (y - box[1] > margin and box[3] - y > margin):
        return begin, begin
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if points[middle, 0] - box[0] > margin:
            high = middle
        else:
            low = middle + 1
    first, high = low, end
    while low < high:
        middle = (low + high) // 2
        if box[2] - points[middle, 0] > margin:
            low = middle + 1
        else:
            high = middle
    return first, low

"""IoU, GIoU, DIoU, EIoU and CIoU of pairs of boxes on the CPU, each with its gradient, in one pass.

The values are made operation by operation as in `geometry/overlaps.py`, which is the specification; only the difference
of two angles is found in one step. The gradient is what autograd makes of that: equal arguments of a minimum or maximum
share it, and a clamp lets it through at its bound. No branch looks at a box, so that a compiler can do several at once.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..geometry import overlaps
from .threads_cpu import share_rows

ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
TWO_OVER_PI, SMALLEST_SIDE = np.float32(2 / math.pi), np.float32(overlaps.SMALLEST_SIDE)
RIGHT_ANGLE, HALF_ANGLE = np.float32(math.pi / 2), np.float32(math.pi / 4)
LOW_TANGENT, HIGH_TANGENT = np.float32(math.tan(math.pi / 8)), np.float32(math.tan(3 * math.pi / 8))
# Of (atan x - x) / x³ in powers of x², fitted up to tan(π/8): the arctangent has a relative error of 2e-8.
A0, A1, A2, A3 = np.float32(-0.33332955), np.float32(0.19977926), np.float32(-0.13879849), np.float32(0.08060306)
# Places in flat arrays of boxes. A compiler knows their steps, and that what has no sign does not count from the end.
CORNERS, NEXT, FAR = np.uint64(4), np.uint64(1), np.uint64(2)
ROWS_A_THREAD = 8192
"""Fewer are done before a thread has started."""


def measure_pairs(measure: str, boxes: Tensor, target_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """``(R,)`` values and their ``(R, 4)`` gradients in the boxes, of float32 boxes and targets ``(R, 4)``, xyxy.

    The rows are shared by as many threads as torch uses.
    """
    kernel, factor = KERNELS[measure]
    rows = len(boxes)
    values, slopes = torch.empty(rows), torch.empty(rows, 4)
    arrays = [tensor.detach().contiguous().numpy() for tensor in (boxes, target_boxes, values, slopes)]

    def work(part: slice) -> None:
        kernel(factor, *(array[part].ravel() for array in arrays))

    share_rows(work, rows, ROWS_A_THREAD)
    return values, slopes


@njit(nogil=True, cache=True, error_model="numpy")
def _area_rows(of_hull, boxes, targets, values, slopes):
    """IoU, and with a factor of 1 GIoU."""
    for row in range(len(values)):
        at_x = CORNERS * np.uint64(row)
        at_y = at_x + NEXT
        x, y = _axis(boxes, targets, at_x), _axis(boxes, targets, at_y)
        iou, union = _iou(x, y)
        values[row] = iou - of_hull * (ONE - union)
        areas = _area_pulls(x, y, iou, union, of_hull)
        _write(boxes, targets, slopes, at_x, x, areas[0], (ZERO, ZERO))
        _write(boxes, targets, slopes, at_y, y, areas[1], (ZERO, ZERO))


@njit(nogil=True, cache=True, error_model="numpy")
def _distance_rows(of_sides, boxes, targets, values, slopes):
    """DIoU, and with a factor of 1 EIoU."""
    for row in range(len(values)):
        at_x = CORNERS * np.uint64(row)
        at_y = at_x + NEXT
        x, y = _axis(boxes, targets, at_x), _axis(boxes, targets, at_y)
        iou, union = _iou(x, y)
        longer, wide, high = _relative_hull(x, y)
        distance, across, down = _distance(x, y, wide, high)
        wider, higher = x[0] - x[1], y[0] - y[1]
        values[row] = iou - distance - of_sides * (wider * wider) - of_sides * (higher * higher)
        areas = _area_pulls(x, y, iou, union, ZERO)
        sides_x, sides_y = TWO * of_sides * wider, TWO * of_sides * higher
        pulls_x = areas[0][0] - sides_x, areas[0][1] + sides_x, areas[0][2]
        pulls_y = areas[1][0] - sides_y, areas[1][1] + sides_y, areas[1][2]
        _write(boxes, targets, slopes, at_x, x, pulls_x, (across[0], across[1] / longer))
        _write(boxes, targets, slopes, at_y, y, pulls_y, (down[0], down[1] / longer))


@njit(nogil=True, cache=True, error_model="numpy")
def _aspect_rows(of_aspect, boxes, targets, values, slopes):
    """CIoU, with a factor of 1."""
    for row in range(len(values)):
        at_x = CORNERS * np.uint64(row)
        at_y = at_x + NEXT
        x, y = _axis(boxes, targets, at_x), _axis(boxes, targets, at_y)
        iou, union = _iou(x, y)
        longer, wide, high = _relative_hull(x, y)
        distance, across, down = _distance(x, y, wide, high)
        width, height, target_width, target_height = x[0] * wide, y[0] * high, x[1] * wide, y[1] * high
        turn = TWO_OVER_PI * _angle_between(width, height, target_width, target_height)
        aspect = turn * turn
        trade_off = of_aspect * aspect / _or_one(ONE - iou + aspect)  # constant for the gradient
        values[row] = iou - distance - trade_off * aspect
        of_angle = TWO * TWO_OVER_PI * trade_off * turn  # minus of the target's
        of_width, of_height = _angle_pulls(width, height, of_angle)
        of_target_width, of_target_height = _angle_pulls(target_width, target_height, -of_angle)
        areas = _area_pulls(x, y, iou, union, ZERO)
        pulls_x = areas[0][0] + of_width * wide, areas[0][1] + of_target_width * wide, areas[0][2]
        pulls_y = areas[1][0] + of_height * high, areas[1][1] + of_target_height * high, areas[1][2]
        of_wide = across[1] + of_width * x[0] + of_target_width * x[1]
        of_high = down[1] + of_height * y[0] + of_target_height * y[1]
        _write(boxes, targets, slopes, at_x, x, pulls_x, (across[0], of_wide / longer))
        _write(boxes, targets, slopes, at_y, y, pulls_y, (down[0], of_high / longer))


KERNELS: dict[str, tuple[Callable[..., Any], np.float32]] = {
    "iou": (_area_rows, ZERO),
    "giou": (_area_rows, ONE),
    "diou": (_distance_rows, ZERO),
    "eiou": (_distance_rows, ONE),
    "ciou": (_aspect_rows, ONE),
}


@njit(nogil=True, cache=True, error_model="numpy")
def _axis(boxes, targets, at):
    """Both sizes, the overlap and the shift of the centres, by the hull; what they were divided by, and the hull."""
    low, high, other_low, other_high = boxes[at], boxes[at + FAR], targets[at], targets[at + FAR]
    size, other_size = _at_least(high - low, ZERO), _at_least(other_high - other_low, ZERO)
    both = _at_least(_smaller(high, other_high) - _larger(low, other_low), ZERO)
    hull = _larger(_larger(high, low), _larger(other_high, other_low))
    hull -= _smaller(_smaller(high, low), _smaller(other_high, other_low))
    shift = ((high - other_high) + (low - other_low)) * HALF
    point = ONE if hull == ZERO else ZERO
    unit = hull + point
    return (size + point) / unit, (other_size + point) / unit, (both + point) / unit, shift / unit, unit, hull


@njit(nogil=True, cache=True, error_model="numpy")
def _iou(x, y):
    """IoU, and the union as a fraction of the enclosing box."""
    both = x[2] * y[2]
    union = x[0] * y[0] + x[1] * y[1] - both
    return both / _or_one(union), union


@njit(nogil=True, cache=True, error_model="numpy")
def _area_pulls(x, y, iou, union, of_hull):
    """Of each axis, the slopes in both sizes and the overlap."""
    one_over = ONE / _or_one(union)
    of_union = (ZERO if union == ZERO else -iou * one_over) + of_hull
    of_both = one_over - of_union
    return (of_union * y[0], of_union * y[1], of_both * y[2]), (of_union * x[0], of_union * x[1], of_both * x[2])


@njit(nogil=True, cache=True, error_model="numpy")
def _relative_hull(x, y):
    longer = _or_one(_larger(x[5], y[5]))
    return longer, x[5] / longer, y[5] / longer


@njit(nogil=True, cache=True, error_model="numpy")
def _distance(x, y, wide, high):
    """Of the centres; of each axis, the slopes of minus the distance in the shift and in the relative hull."""
    across, down, diagonal = x[3] * wide, y[3] * high, wide * wide + high * high
    distance = (across * across + down * down) / _or_one(diagonal)
    twice = TWO / _or_one(diagonal)
    of_across, of_down = -across * twice, -down * twice
    of_diagonal = ZERO if diagonal == ZERO else distance * twice
    pulls_x = of_across * wide, of_across * x[3] + of_diagonal * wide
    return distance, pulls_x, (of_down * high, of_down * y[3] + of_diagonal * high)


@njit(nogil=True, cache=True, error_model="numpy")
def _angle_between(width, height, other_width, other_height):
    """``atan(w_t / h_t) - atan(w / h)``, as the one angle that it is: with an arctangent less, and more digits."""
    width, height = _at_least(width, SMALLEST_SIDE), _at_least(height, SMALLEST_SIDE)
    other_width, other_height = _at_least(other_width, SMALLEST_SIDE), _at_least(other_height, SMALLEST_SIDE)
    rise, run = other_width * height - width * other_height, other_height * height + other_width * width
    steep = abs(rise)
    is_low, is_high = steep <= LOW_TANGENT * run, steep > HIGH_TANGENT * run
    over = steep if is_low else (-run if is_high else steep - run)
    under = run if is_low else (steep if is_high else steep + run)
    start = ZERO if is_low else (RIGHT_ANGLE if is_high else HALF_ANGLE)
    x = over / under
    z = x * x
    angle = start + (x + x * z * (A0 + z * (A1 + z * (A2 + z * A3))))
    return -angle if rise < ZERO else angle


@njit(nogil=True, cache=True, error_model="numpy")
def _angle_pulls(width, height, pull):
    """Slopes in the sides, of ``pull * atan(width / height)`` with sides that are clamped."""
    wide, high = _at_least(width, SMALLEST_SIDE), _at_least(height, SMALLEST_SIDE)
    pull /= wide * wide + high * high
    return pull * high if width >= SMALLEST_SIDE else ZERO, -pull * wide if height >= SMALLEST_SIDE else ZERO


@njit(nogil=True, cache=True, error_model="numpy")
def _write(boxes, targets, slopes, at, lengths, pulls, hull_pulls):
    """Lead the slopes in the lengths of an axis back to the ends of the box."""
    low, high, other_low, other_high = boxes[at], boxes[at + FAR], targets[at], targets[at + FAR]
    of_size, of_other, of_both = pulls
    of_shift, of_hull = hull_pulls
    unit = lengths[4]
    of_hull -= (of_size * lengths[0] + of_other * lengths[1] + of_both * lengths[2] + of_shift * lengths[3]) / unit
    of_size = of_size / unit if high - low >= ZERO else ZERO
    of_both = of_both / unit if _smaller(high, other_high) - _larger(low, other_low) >= ZERO else ZERO
    of_shift = HALF * of_shift / unit
    high_above, low_above = _share(high, low), _share(low, high)
    of_right = of_hull * _share(_larger(high, low), _larger(other_high, other_low))
    of_left = -of_hull * _share(_smaller(other_high, other_low), _smaller(high, low))
    slopes[at] = of_right * low_above + of_left * high_above + of_shift - of_size - of_both * _share(low, other_low)
    high_slope = of_right * high_above + of_left * low_above + of_shift + of_size + of_both * _share(other_high, high)
    slopes[at + FAR] = high_slope


@njit(nogil=True, cache=True)
def _share(value, other):
    """How much of the slope of their maximum is the value's; of minus their minimum, with both changed about."""
    return HALF if value == other else (ZERO if value < other else ONE)


# These two lose a NaN that torch hands on. It is not lost: the size of its box is a NaN too, by `_at_least`.


@njit(nogil=True, cache=True)
def _larger(a, b):
    return a if a > b else b


@njit(nogil=True, cache=True)
def _smaller(a, b):
    return a if a < b else b


@njit(nogil=True, cache=True)
def _at_least(value, bound):
    return bound if value < bound else value


@njit(nogil=True, cache=True)
def _or_one(value):
    return ONE if value == ZERO else value

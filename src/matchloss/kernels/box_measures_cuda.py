"""IoU, GIoU, DIoU, EIoU and CIoU of pairs of boxes on a GPU, each with its gradient, in one pass.

The values are made operation by operation as in `geometry/overlaps.py`, which is the specification; only the difference
of two angles is found in one step. The gradient is what autograd makes of that: equal arguments of a minimum or maximum
share it, and a clamp lets it through at its bound. It is made beside the value: a pair has eight numbers to read and
five to write, and starting a second kernel for the gradient would take longer than that.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..geometry import overlaps
from .overlaps_cuda import at_least, compare_axis, iou_of_axes, larger, or_one, smaller

PAIRS, WARPS = 128, 4
"""A program, one a thread: so few that ten thousand pairs reach half of the multiprocessors."""

SMALLEST_SIDE = tl.constexpr(overlaps.SMALLEST_SIDE)
TWO_OVER_PI, RIGHT_ANGLE, HALF_ANGLE = tl.constexpr(2 / math.pi), tl.constexpr(math.pi / 2), tl.constexpr(math.pi / 4)
LOW_TANGENT, HIGH_TANGENT = tl.constexpr(math.tan(math.pi / 8)), tl.constexpr(math.tan(3 * math.pi / 8))


def measure_pairs(measure: str, boxes: Tensor, target_boxes: Tensor) -> tuple[Tensor, Tensor]:
    """``(R,)`` values and their ``(R, 4)`` gradients in the boxes, float32, of boxes and targets ``(R, 4)``, xyxy.

    Multiplications and additions are not fused, nor divisions approximated: two equal boxes have an IoU of exactly 1.
    """
    rows = len(boxes)
    values, slopes = torch.empty(rows, device=boxes.device), torch.empty(rows, 4, device=boxes.device)
    if rows > 0:
        grid = (triton.cdiv(rows, PAIRS),)
        arrays = boxes.contiguous(), target_boxes.contiguous(), values, slopes
        with torch.cuda.device_of(boxes):  # type: ignore[no-untyped-call]
            _measure[grid](*arrays, rows, measure=measure, pairs=PAIRS, num_warps=WARPS, enable_fp_fusion=False)
    return values, slopes


@triton.jit(do_not_specialize=["rows"])
def _measure(boxes, targets, values, slopes, rows, measure: tl.constexpr, pairs: tl.constexpr):
    pair = tl.program_id(0).to(tl.int64) * pairs + tl.arange(0, pairs)
    inside = pair < rows
    x_ends, y_ends = _read(boxes, targets, pair * 4, inside), _read(boxes, targets, pair * 4 + 1, inside)
    x = compare_axis(x_ends[0], x_ends[1], x_ends[2], x_ends[3])
    y = compare_axis(y_ends[0], y_ends[1], y_ends[2], y_ends[3])
    if measure == "iou" or measure == "giou":
        value, of_x, of_y = _area_measure(x, y, measure)
    else:
        value, of_x, of_y = _distance_measure(x, y, measure)
    tl.store(values + pair, value, mask=inside)
    _write(slopes + pair * 4, x_ends, x, of_x, inside)
    _write(slopes + pair * 4 + 1, y_ends, y, of_y, inside)


@triton.jit
def _read(boxes, targets, place, inside):
    """Both ends of a box and of its target on one axis."""
    low, high = tl.load(boxes + place, mask=inside, other=0.0), tl.load(boxes + place + 2, mask=inside, other=0.0)
    other_low = tl.load(targets + place, mask=inside, other=0.0)
    other_high = tl.load(targets + place + 2, mask=inside, other=0.0)
    return low.to(tl.float32), high.to(tl.float32), other_low.to(tl.float32), other_high.to(tl.float32)


@triton.jit
def _area_measure(x, y, measure: tl.constexpr):
    """IoU or GIoU; of each axis, the slopes in both sizes, the overlap, the shift and the hull."""
    iou, union = iou_of_axes(x, y)
    if measure == "iou":
        value, of_x, of_y = iou, _area_slopes(x, y, iou, union, 0.0), _area_slopes(y, x, iou, union, 0.0)
    else:
        value = iou - (1 - union)
        of_x, of_y = _area_slopes(x, y, iou, union, 1.0), _area_slopes(y, x, iou, union, 1.0)
    none = tl.zeros_like(iou)
    return value, (of_x[0], of_x[1], of_x[2], none, none), (of_y[0], of_y[1], of_y[2], none, none)


@triton.jit
def _distance_measure(x, y, measure: tl.constexpr):
    """DIoU, EIoU or CIoU; of each axis, the slopes as above."""
    iou, union = iou_of_axes(x, y)
    longer = or_one(larger(x[5], y[5]))
    wide, high = tl.div_rn(x[5], longer), tl.div_rn(y[5], longer)
    distance, across, down = _distance(x, y, wide, high)
    value = iou - distance
    size_x, other_x, both_x = _area_slopes(x, y, iou, union, 0.0)
    size_y, other_y, both_y = _area_slopes(y, x, iou, union, 0.0)
    of_wide, of_high = across[1], down[1]
    if measure == "eiou":
        wider, higher = x[0] - x[1], y[0] - y[1]
        value = value - wider * wider - higher * higher
        size_x, other_x = size_x - 2 * wider, other_x + 2 * wider
        size_y, other_y = size_y - 2 * higher, other_y + 2 * higher
    if measure == "ciou":
        width, height, other_width, other_height = x[0] * wide, y[0] * high, x[1] * wide, y[1] * high
        turn = TWO_OVER_PI * _angle_between(width, height, other_width, other_height)
        aspect = turn * turn
        trade_off = tl.div_rn(aspect, or_one(1 - iou + aspect))  # constant for the gradient
        value = value - trade_off * aspect
        of_angle = 2 * TWO_OVER_PI * trade_off * turn  # minus of the target's
        of_width, of_height = _angle_slopes(width, height, of_angle)
        of_other_width, of_other_height = _angle_slopes(other_width, other_height, -of_angle)
        size_x, other_x = size_x + of_width * wide, other_x + of_other_width * wide
        size_y, other_y = size_y + of_height * high, other_y + of_other_height * high
        of_wide += of_width * x[0] + of_other_width * x[1]
        of_high += of_height * y[0] + of_other_height * y[1]
    of_x = size_x, other_x, both_x, across[0], tl.div_rn(of_wide, longer)
    return value, of_x, (size_y, other_y, both_y, down[0], tl.div_rn(of_high, longer))


@triton.jit
def _area_slopes(axis, across, iou, union, of_hull):
    """Slopes in both sizes and the overlap of an axis; ``across`` is the other one."""
    one_over = tl.div_rn(1.0, or_one(union))
    of_union = tl.where(union == 0, 0.0, -iou * one_over) + of_hull
    return of_union * across[0], of_union * across[1], (one_over - of_union) * across[2]


@triton.jit
def _distance(x, y, wide, high):
    """Of the centres; of each axis, the slopes of minus the distance in the shift and in the relative hull."""
    across, down, diagonal = x[3] * wide, y[3] * high, wide * wide + high * high
    distance = tl.div_rn(across * across + down * down, or_one(diagonal))
    twice = tl.div_rn(2.0, or_one(diagonal))
    of_across, of_down = -across * twice, -down * twice
    of_diagonal = tl.where(diagonal == 0, 0.0, distance * twice)
    of_x = of_across * wide, of_across * x[3] + of_diagonal * wide
    return distance, of_x, (of_down * high, of_down * y[3] + of_diagonal * high)


@triton.jit
def _angle_between(width, height, other_width, other_height):
    """``atan(w_t / h_t) - atan(w / h)``, as the one angle that it is: with an arctangent less, and more digits."""
    width, height = at_least(width, SMALLEST_SIDE), at_least(height, SMALLEST_SIDE)
    other_width, other_height = at_least(other_width, SMALLEST_SIDE), at_least(other_height, SMALLEST_SIDE)
    rise, run = other_width * height - width * other_height, other_height * height + other_width * width
    steep = tl.abs(rise)
    is_low, is_high = steep <= LOW_TANGENT * run, steep > HIGH_TANGENT * run
    over = tl.where(is_low, steep, tl.where(is_high, -run, steep - run))
    under = tl.where(is_low, run, tl.where(is_high, steep, steep + run))
    start = tl.where(is_low, 0.0, tl.where(is_high, RIGHT_ANGLE, HALF_ANGLE))
    x = tl.div_rn(over, under)
    z = x * x
    # Of (atan x - x) / x³ in powers of x², fitted up to tan(π/8): the arctangent has a relative error of 2e-8.
    series = -0.33332955 + z * (0.19977926 + z * (-0.13879849 + z * 0.08060306))
    angle = start + (x + x * z * series)
    return tl.where(rise < 0, -angle, angle)


@triton.jit
def _angle_slopes(width, height, slope):
    """Slopes in the sides, of ``slope * atan(width / height)`` with sides that are clamped."""
    wide, high = at_least(width, SMALLEST_SIDE), at_least(height, SMALLEST_SIDE)
    slope = tl.div_rn(slope, wide * wide + high * high)
    return tl.where(width >= SMALLEST_SIDE, slope * high, 0.0), tl.where(height >= SMALLEST_SIDE, -slope * wide, 0.0)


@triton.jit
def _write(slopes, ends, axis, of_lengths, inside):
    """Lead the slopes in the lengths of an axis back to the ends of the box."""
    low, high, other_low, other_high = ends
    of_size, of_other, of_both, of_shift, of_hull = of_lengths
    unit = axis[4]
    of_unit = of_size * axis[0] + of_other * axis[1] + of_both * axis[2] + of_shift * axis[3]
    of_hull -= tl.div_rn(of_unit, unit)
    of_size = tl.where(high - low >= 0, tl.div_rn(of_size, unit), 0.0)
    overlaps = smaller(high, other_high) - larger(low, other_low) >= 0
    of_both = tl.where(overlaps, tl.div_rn(of_both, unit), 0.0)
    of_shift = tl.div_rn(0.5 * of_shift, unit)
    high_above, low_above = _share(high, low), _share(low, high)
    of_right = of_hull * _share(larger(high, low), larger(other_high, other_low))
    of_left = -of_hull * _share(smaller(other_high, other_low), smaller(high, low))
    of_low = of_right * low_above + of_left * high_above + of_shift - of_size - of_both * _share(low, other_low)
    of_high = of_right * high_above + of_left * low_above + of_shift + of_size + of_both * _share(other_high, high)
    tl.store(slopes, of_low, mask=inside)
    tl.store(slopes + 2, of_high, mask=inside)


@triton.jit
def _share(value, other):
    """How much of the slope of their maximum is the value's; of minus their minimum, with both changed about."""
    return tl.where(value == other, 0.5, tl.where(value < other, 0.0, 1.0))

"""Pairs of target and point on a GPU, as the plain form of task-aligned assignment computes them.

Operation by operation, in float32, so that both rank alike to the last bit: roots and divisions are the exact ones (a
plain `/` of float32 is not), and the launchers forbid the compiler to join a product and a sum. Only the angles of CIoU
and unusual powers come from float64 and are rounded: what torch computes is at times one unit in the last place away.
Either is a function of the pair's numbers, so what ties in one form ties in the other.

`rules` are the options by their names, `TaskAlignedRules`; compiled in, since a training has one set of them. A `max`
or `min` of Triton drops a NaN where torch keeps it, hence `where` at what may be one.
"""

import math

import triton
import triton.language as tl

from ..geometry import overlaps
from .overlaps_cuda import compare_axis, iou_of_axes, larger, or_one

SMALLEST_SIDE = tl.constexpr(overlaps.SMALLEST_SIDE)
TWO_OVER_PI = tl.constexpr(2 / math.pi)
QUARTER_TURN = tl.constexpr(math.pi / 4)
INFINITY = tl.constexpr(math.inf)


@triton.jit
def corners(boxes, row, there):
    """Boxes ``(., 4)`` as four numbers; zeros where not there."""
    first = boxes + row * 4
    x1, y1 = tl.load(first, mask=there, other=0.0), tl.load(first + 1, mask=there, other=0.0)
    x2, y2 = tl.load(first + 2, mask=there, other=0.0), tl.load(first + 3, mask=there, other=0.0)
    return x1, y1, x2, y2


@triton.jit
def pixels(points, place, there):
    """Points ``(., 2)`` as two numbers; zeros where not there."""
    return tl.load(points + place * 2, mask=there, other=0.0), tl.load(points + place * 2 + 1, mask=there, other=0.0)


@triton.jit
def look_at(seen, place, there, target, label, rules: tl.constexpr):
    """Whether pairs are possible, their metric and their overlap, both 0 where not.

    Points ``place`` of one image beside targets; either side may be one or many. ``seen`` holds where scores, boxes,
    points and strides of the image begin, and the steps between the scores of two points and of two classes.
    """
    scores, boxes, points, strides, point_step, class_step = seen
    score = tl.load(scores + place.to(tl.int64) * point_step + label * class_step, mask=there, other=0.0)
    box = corners(boxes, place, there)
    overlap = _overlap(box, target, rules)
    metric = _power(score, rules.alpha) * _power(overlap, rules.beta)
    possible = there & (tl.abs(box[0]) < INFINITY) & (tl.abs(box[1]) < INFINITY)
    possible = possible & (tl.abs(box[2]) < INFINITY) & (tl.abs(box[3]) < INFINITY) & (score >= 0) & (score <= 1)
    possible = possible & (overlap >= 0) & (metric >= 0) & (metric < INFINITY)
    if rules.reach is not None:
        x, y = pixels(points, place, there)
        across, down = tl.maximum(x - target[0], target[2] - x), tl.maximum(y - target[1], target[3] - y)
        farthest, stride = tl.maximum(across, down), tl.load(strides + place, mask=there, other=0.0)
        possible = possible & (farthest <= stride * rules.reach)
    # The comparison turns -0.0, whose bits would order as the least, into 0.0.
    return possible, tl.where(possible & (metric > 0), metric, 0.0), tl.where(possible, overlap, 0.0)


@triton.jit
def passes(possible, metric, overlap, x, y, near, rules: tl.constexpr):
    """Whether possible pairs may be positive."""
    result = possible & is_inside(x, y, near, rules.margin) & (overlap >= rules.min_overlap)
    return result if rules.zero_metric else result & (metric > 0)


@triton.jit
def is_inside(x, y, box, margin: tl.constexpr):
    """Whether points lie inside a box by more than the margin."""
    return (x - box[0] > margin) & (box[2] - x > margin) & (y - box[1] > margin) & (box[3] - y > margin)


@triton.jit
def widened(target, rules: tl.constexpr):
    """The target of the inside test."""
    if rules.min_side is not None:
        x1, y1, x2, y2 = target
        half: tl.constexpr = rules.min_side / 2
        x, y = x1 * 0.5 + x2 * 0.5, y1 * 0.5 + y2 * 0.5
        narrow, low = x2 - x1 < rules.min_side, y2 - y1 < rules.min_side
        x1, x2 = tl.where(narrow, x - half, x1), tl.where(narrow, x + half, x2)
        y1, y2 = tl.where(low, y - half, y1), tl.where(low, y + half, y2)
        target = x1, y1, x2, y2
    return target


@triton.jit
def _power(base, exponent: tl.constexpr):
    """The plain form's `power`, product by product."""
    if exponent == 0:
        result = tl.full(base.shape, 1.0, tl.float32)
    elif exponent == 0.5:
        result = tl.sqrt_rn(base)
    elif exponent == 1:
        result = base
    elif exponent == 2:
        result = base * base
    elif exponent == 3:
        result = base * base * base
    elif exponent == 4:
        result = (base * base) * (base * base)
    elif exponent == 6:
        result = (base * base * base) * (base * base * base)
    elif exponent == 8:
        fourth = (base * base) * (base * base)
        result = fourth * fourth
    else:
        result = tl.exp(exponent * tl.log(base.to(tl.float64))).to(tl.float32)
    return result


@triton.jit
def _overlap(box, target, rules: tl.constexpr):
    """`box_iou` or `box_ciou` of the geometry, but not below 0."""
    x = compare_axis(box[0], box[2], target[0], target[2])
    y = compare_axis(box[1], box[3], target[1], target[3])
    overlap, _ = iou_of_axes(x, y)
    if rules.overlap == "ciou":
        longer = or_one(larger(x[5], y[5]))
        wide, high = tl.div_rn(x[5], longer), tl.div_rn(y[5], longer)
        diagonal = wide * wide + high * high
        across, down = x[3] * wide, y[3] * high
        apart = tl.div_rn(across * across + down * down, or_one(diagonal))
        turn = _angle(x[1] * wide, y[1] * high) - _angle(x[0] * wide, y[0] * high)
        aspect = (turn * TWO_OVER_PI) * (turn * TWO_OVER_PI)
        doubt = 1 - overlap + aspect
        overlap = overlap - apart - tl.div_rn(aspect, or_one(doubt)) * aspect
    return tl.where(overlap <= 0, 0.0, overlap)


@triton.jit
def _angle(width, height):
    """The arc tangent of width over height, both at least the smallest side: 45° and what the two differ by.

    Half of that angle has a tangent of 0.42 at most, for which 13 terms of the series are good for 1e-11.
    """
    width = tl.where(width < SMALLEST_SIDE, SMALLEST_SIDE, width).to(tl.float64)
    height = tl.where(height < SMALLEST_SIDE, SMALLEST_SIDE, height).to(tl.float64)
    tangent = (width - height) / (width + height)
    half = tangent / (1 + tl.sqrt(1 + tangent * tangent))
    square, series = half * half, tl.zeros_like(half)
    for term in tl.static_range(12, -1, -1):
        series = 1 / (2 * term + 1) - square * series
    return (2 * half * series + QUARTER_TURN).to(tl.float32)

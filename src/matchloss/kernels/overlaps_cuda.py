"""Two boxes along one axis on a GPU, as the plain form of the overlaps computes them, operation by operation."""

import triton
import triton.language as tl


@triton.jit
def compare_axis(low, high, other_low, other_high):
    """Both sizes, the overlap and the shift of the centres, by the hull; what they were divided by, and the hull.

    Two boxes shrunk to the same point have sizes and an overlap of 1. Divisions are the exact ones: a plain `/` of
    float32 is not. A NaN is lost by the maxima and minima, but not by the size of its box.
    """
    size, other_size = at_least(high - low, 0.0), at_least(other_high - other_low, 0.0)
    both = at_least(smaller(high, other_high) - larger(low, other_low), 0.0)
    hull = larger(larger(high, low), larger(other_high, other_low))
    hull -= smaller(smaller(high, low), smaller(other_high, other_low))
    shift = ((high - other_high) + (low - other_low)) * 0.5
    point = tl.where(hull == 0, 1.0, 0.0)
    unit = hull + point
    size, other_size = tl.div_rn(size + point, unit), tl.div_rn(other_size + point, unit)
    return size, other_size, tl.div_rn(both + point, unit), tl.div_rn(shift, unit), unit, hull


@triton.jit
def iou_of_axes(x, y):
    """IoU, and the union as a fraction of the enclosing box."""
    both = x[2] * y[2]
    union = x[0] * y[0] + x[1] * y[1] - both
    return tl.div_rn(both, or_one(union)), union


@triton.jit
def larger(a, b):
    """The second where one is a NaN."""
    return tl.where(a > b, a, b)


@triton.jit
def smaller(a, b):
    """The second where one is a NaN."""
    return tl.where(a < b, a, b)


@triton.jit
def at_least(value, bound):
    """A NaN stays."""
    return tl.where(value < bound, bound, value)


@triton.jit
def or_one(value):
    """A denominator of 0 becomes 1."""
    return tl.where(value == 0, 1.0, value)

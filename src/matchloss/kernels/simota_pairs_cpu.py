"""One pair of target and point for the CPU kernel of SimOTA, as the plain form computes it."""

from typing import NamedTuple

import numpy as np
from numba import njit

from .overlaps_cpu import pair_overlap

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LEAST_LOG = np.float32(-100)
"""As in the plain form: a probability of 0 is not infinitely wrong."""
HUGE = np.float32(1e37)
"""Of a coordinate: the hull of such boxes may not be finite, and then their overlap is not 0 where they are apart."""
LN2, OCTAVE, BIAS, BULGE = np.log(2.0), 2.0**-23, 127.0, 0.0861
"""A float's bits over 2^23, less those of 1, are its binary logarithm or less, by so much at most."""


class Numbers(NamedTuple):
    """The options as the kernel reads them."""

    radius: np.float32
    center_only: bool
    weight: np.float32
    eps: np.float32


@njit(nogil=True, cache=True)
def look(numbers, x, y, stride, box):
    """Whether a point is near to the centre of a target, and whether inside it."""
    reach = numbers.radius * stride
    across, down = abs(x - (box[0] / TWO + box[2] / TWO)), abs(y - (box[1] / TWO + box[3] / TWO))
    in_box = (x - box[0] > ZERO) & (box[2] - x > ZERO) & (y - box[1] > ZERO) & (box[3] - y > ZERO)
    return (across < reach) & (down < reach), in_box


@njit(nogil=True, cache=True)
def is_early(numbers, x, y, stride, target):
    """Whether the target takes the point before others."""
    in_center, in_box = look(numbers, x, y, stride, target)
    return in_center & (in_box | numbers.center_only)


@njit(nogil=True, cache=True)
def overlap_or_zero(box, target):
    """IoU, without a division where the boxes are apart."""
    x_apart = min(box[2], target[2]) < max(box[0], target[0])
    y_apart = min(box[3], target[3]) < max(box[1], target[1])
    if (x_apart or y_apart) and _is_small(box) and _is_small(target):
        return ZERO
    return pair_overlap(target, box, False)


@njit(nogil=True, cache=True)
def _is_small(box):
    return max(max(abs(box[0]), abs(box[1])), max(abs(box[2]), abs(box[3]))) < HUGE


@njit(nogil=True, cache=True)
def pair_cost(numbers, background, score, overlap):
    """As in the plain form; NaN stays."""
    of_others = background + _clamped_log(ONE - score)
    cost = of_others - _clamped_log(score) - numbers.weight * _log(overlap + numbers.eps)
    return ZERO if cost <= ZERO else cost


@njit(nogil=True, cache=True)
def _log(x):
    return np.float32(np.log(np.float64(x)))


@njit(nogil=True, cache=True)
def _clamped_log(x):
    value = _log(x)
    return LEAST_LOG if value < LEAST_LOG else value


@njit(nogil=True, cache=True)
def least_cost(background, score, apart):
    """What a pair that is apart costs at least, in a hurry, without logarithms and beyond all rounding."""
    rest = ONE - score
    of_rest = _log_bound(rest) if rest > ZERO else np.float64(LEAST_LOG)
    cost = background + of_rest - (_log_bound(score) + LN2 * BULGE) - apart
    return cost - 1e-3 - 1e-6 * abs(background)


@njit(nogil=True, cache=True)
def _log_bound(x):
    """Not above the logarithm of what is a normal number, and of what is not, not below -100."""
    return LN2 * (np.float32(x).view(np.int32) * OCTAVE - BIAS)

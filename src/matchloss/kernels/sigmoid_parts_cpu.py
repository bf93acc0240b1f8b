"""What the kernels for the CPU make of one sigmoid logit, for loops of which a compiler does several steps at once.

Nothing is one less something else, so that all have their digits in the tails.
"""

import numpy as np
from numba import njit

from .float_math_cpu import ONE, ZERO, exp_of_negative, log1p_of_fraction

HIDDEN = np.float32(-88)
"""Stands for a logit that does not count: with the target 0 it has no loss, no probability and no gradient."""


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def probabilities(x):
    """``p`` and ``q = 1 - p``."""
    small = exp_of_negative(-abs(x))
    larger = ONE / (ONE + small)
    smaller = small * larger
    return (larger, smaller) if x >= ZERO else (smaller, larger)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def cross_entropy(x, t):
    """``-t log p - (1 - t) log q``."""
    return log1p_of_fraction(exp_of_negative(-abs(x))) + ((x if x > ZERO else ZERO) - t * x)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def cross_entropy_slope(x, t):
    """``p - t``."""
    p, q = probabilities(x)
    return p * (ONE - t) - q * t

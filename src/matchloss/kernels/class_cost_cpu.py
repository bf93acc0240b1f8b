"""The class part of matching costs on the CPU: what stands at the class of each usable target, query beside query."""

import numpy as np
from numba import njit

from .float_math_cpu import add, exp_of_negative

ZERO, ONE, POSITIVE = np.float32(0), np.float32(1), np.int32(2**31 - 1)
AT_ONCE = 32
"""Queries whose classes all lie near at hand."""
FEW = np.float32(1e-3)
"""Sum of a query's exponentials, with the largest logit of several queries as 0, below which they lose digits."""
FAR = 100.0
"""Logits beyond have a probability of 0 or 1 to all digits of float32."""
DOUBLINGS = 10


@njit(nogil=True, cache=True, error_model="numpy")
def write_probability_costs(logits, labels, rows, weight, total):
    """Minus the softmax, weighted; no more than some queries of it are in memory."""
    powers, share = np.empty((AT_ONCE, logits.shape[1]), np.float32), np.empty(AT_ONCE, np.float32)
    for begin in range(0, len(logits), AT_ONCE):
        count = min(AT_ONCE, len(logits) - begin)
        # As one row: what is left over behind the last full step of a loop takes as long as many steps.
        near, far = logits[begin : begin + count].reshape(-1), powers[:count].reshape(-1)
        _exponentials(near, _largest(near.view(np.int32)), far)
        for i in range(count):
            total_power = _sum(powers[i])
            if not total_power > FEW:  # too far below the others to be shifted with them, or not finite
                near = logits[begin + i]
                _exponentials(near, _largest(near.view(np.int32)), powers[i])
                total_power = _sum(powers[i])
            share[i] = ONE / total_power
        for n in range(len(rows)):
            t, label = rows[n], labels[rows[n]]
            for i in range(count):
                total[t, begin + i] = weight * -(powers[i, label] * share[i])


@njit(nogil=True, cache=True)
def write_focal_costs(logits, labels, rows, weight, alpha, total):
    """Those of gamma 2, weighted."""
    # Some queries at a time: the classes of each lie side by side, while those of one class are far apart.
    for begin in range(0, len(logits), AT_ONCE):
        end = min(begin + AT_ONCE, len(logits))
        for n in range(len(rows)):
            t, label = rows[n], labels[rows[n]]
            for q in range(begin, end):
                total[t, q] = logits[q, label]
    for n in range(len(rows)):
        _weigh_logits(total[rows[n]], weight, alpha)


@njit(nogil=True, cache=True)
def _largest(bits):
    """Of floats: they are ordered as their bits, negative ones the other way round; so several are compared at once.

    A NaN is the largest or the least; either way no power of its row has another sum than NaN.
    """
    largest = np.int32(~POSITIVE)
    for c in range(len(bits)):
        largest = np.int32(max(largest, np.int32(bits[c] ^ POSITIVE if bits[c] < 0 else bits[c])))
    return np.int32(largest ^ POSITIVE if largest < 0 else largest).view(np.float32)


@njit(nogil=True, cache=True)
def _exponentials(values, most, powers):
    for i in range(len(values)):
        powers[i] = exp_of_negative(values[i] - most)


@njit(nogil=True, cache=True)
def _sum(values):
    total = ZERO
    for c in range(len(values)):
        total = add(total, values[c])
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _weigh_logits(row, weight, alpha):
    """Focal costs, of gamma 2, in place."""
    positive, negative = alpha, 1 - alpha
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
        row[q] = weight * np.float32(cost)


@njit(nogil=True, cache=True)
def _exp_of_minus(x):
    """``exp(-x)`` of ``x >= 0``, by its first powers near 0 and repeated squares; to nine digits."""
    z = (x if x < FAR else FAR) * (1 / 2**DOUBLINGS)
    power = 1 - z * (1 - z * (1 / 2 - z * (1 / 6 - z * (1 / 24 - z * (1 / 120 - z * (1 / 720))))))
    for _ in range(DOUBLINGS):
        power *= power
    return power


@njit(nogil=True, cache=True, error_model="numpy")
def _log_of_one_and(x):
    """``log(1 + x)`` of ``x`` in [0, 1], as ``2 artanh(x / (2 + x))``, by its first powers; to nine digits."""
    s = x / (2.0 + x)
    z = s * s
    return 2 * s * (1 + z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13)))))))

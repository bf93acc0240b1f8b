"""Likelihood of labels, row by row: the classes of a pixel lie beside each other.

Exponentials are taken of several rows in one go: a compiler does many elements at once and the rest of a loop one by
one, which of a row with few classes would be all of them.
"""

import numpy as np
from numba import njit

from .float_math_cpu import ONE, ZERO, add, exp_of_negative, log_of_normal
from .softmax_lines_cpu import spread_mass

CHUNK = 2048
"""Elements of which exponentials are taken in one go; one row, if that has more."""
SIGN, REST = np.int32(31), np.int32(0x7FFFFFFF)
LEAST = np.int32(-(2**31))


@njit(nogil=True, cache=True, error_model="numpy")
def read_rows(read, first, last, spread, out):
    """A unit is a row."""
    log_prob, summed, kept = out
    classes, some = read.shape[1], max(1, CHUNK // read.shape[1])
    room = np.empty(some * classes, np.float32)
    for begin in range(first, last, some):
        end = min(begin + some, last)
        for r in range(begin, end):
            row = read.logits[r * classes : (r + 1) * classes]
            kept[0, r] = _highest(row)
            _subtract(row, kept[0, r], room[(r - begin) * classes : (r - begin + 1) * classes])
        _exponentiate(room[: (end - begin) * classes])
        for r in range(begin, end):
            total = _sum(room[(r - begin) * classes : (r - begin + 1) * classes])
            logarithm, kept[1, r] = log_of_normal(total), ONE / total
            row, counts = read.logits[r * classes : (r + 1) * classes], _counts(read, r)
            log_prob[r] = (row[read.labels[r]] - kept[0, r]) - logarithm if counts else ZERO
            if len(spread) > 0:
                summed[r] = _sum_log_probs(row, spread, kept[0, r], logarithm) if counts else ZERO


@njit(nogil=True, cache=True, error_model="numpy")
def write_rows(read, first, last, of_results, spread, kept, grad):
    """A unit is a row. Its two numbers are written to each of its elements, for a loop that knows of no rows."""
    classes, some = read.shape[1], max(1, CHUNK // read.shape[1])
    mass, room = spread_mass(spread), np.empty((2, some * classes), np.float32)
    for begin in range(first, last, some):
        end = min(begin + some, last)
        size, start = (end - begin) * classes, begin * classes
        highest, common = room[0, :size], room[1, :size]
        for r in range(begin, end):
            pull, evenly = _pulls(of_results, spread, r)
            highest[(r - begin) * classes : (r - begin + 1) * classes] = kept[0, r]
            common[(r - begin) * classes : (r - begin + 1) * classes] = -(pull + mass * evenly) * kept[1, r]
        _write(read.logits[start : start + size], highest, common, grad[start : start + size])
        for r in range(begin, end):
            out = grad[r * classes : (r + 1) * classes]
            if _counts(read, r):
                pull, evenly = _pulls(of_results, spread, r)
                _add(spread, evenly, out)
                out[read.labels[r]] += pull
            else:
                out[:] = ZERO


@njit(nogil=True, cache=True)
def _counts(read, r):
    return len(read.counted) == 0 or read.counted[r]


@njit(nogil=True, cache=True)
def _pulls(of_results, spread, r):
    """Gradients of a row, of one number for all or of one for each."""
    of_log_prob, of_summed = of_results
    pull = of_log_prob[0 if len(of_log_prob) == 1 else r]
    return pull, of_summed[0 if len(of_summed) == 1 else r] if len(spread) > 0 else ZERO


@njit(nogil=True, cache=True)
def _highest(row):
    """As whole numbers in the order of the floats: of these a compiler compares several at once, whatever is NaN."""
    bits, high = row.view(np.int32), LEAST
    for i in range(len(bits)):
        high = max(high, bits[i] ^ ((bits[i] >> SIGN) & REST))
    return np.int32(high ^ ((high >> SIGN) & REST)).view(np.float32)


@njit(nogil=True, cache=True)
def _subtract(row, highest, differences):
    for i in range(len(row)):
        differences[i] = row[i] - highest


@njit(nogil=True, cache=True, error_model="numpy")
def _exponentiate(values):
    for i in range(len(values)):
        values[i] = exp_of_negative(values[i])


@njit(nogil=True, cache=True)
def _sum(values):
    total = ZERO
    for i in range(len(values)):
        total = add(total, values[i])
    return total


@njit(nogil=True, cache=True)
def _sum_log_probs(row, spread, highest, logarithm):
    total = ZERO
    for k in range(len(spread)):
        total = add(total, spread[k] * ((row[k] - highest) - logarithm))
    return total


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write(logits, highest, common, grad):
    for i in range(len(grad)):
        grad[i] = common[i] * exp_of_negative(logits[i] - highest[i])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add(spread, evenly, out):
    for k in range(len(spread)):
        out[k] += spread[k] * evenly

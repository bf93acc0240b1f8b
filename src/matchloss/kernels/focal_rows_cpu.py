"""The focal loss of integer labels on the CPU, summed over classes, and its gradient, each in one read of the logits.

Nearly every element is a negative, so all are computed as negatives, with q = 1 - p:

    loss = α p^γ c,   slope = α p^γ (γ q c + p),   c = log(1 + e^x)

The one at each label is a negative in the mirror, of -x, and is written over it; nothing is taken off again, for that
would cost the small ones their digits. No branch looks at an element, so that a compiler does several at once.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .arrays_cpu import flat, flat_or_none
from .float_math_cpu import ONE, TWO, ZERO, exp_of_negative, log1p_of_fraction
from .focal_cpu import ELEMENTS_A_THREAD, balance_of
from .threads_cpu import share_rows

TILE = 2048
"""Elements whose losses lie in the first cache at a time."""
A_SUM = 128
LOWEST = np.float32(-1e30)
"""Logarithms of p below are as good as this one, which 0 times is a number."""


def focal_row_sums(logits: Tensor, labels: Tensor, valid: Tensor | None, alpha: float | None, gamma: float) -> Tensor:
    """``(R,)`` sums over the classes of float32 ``(R, C)`` logits; labels are -1 for background."""
    sums = torch.empty(len(logits))
    x, y, counted, out = flat(logits), flat(labels), flat_or_none(valid), sums.numpy()
    classes, balance, power = logits.shape[1], balance_of(1.0, alpha), np.float32(gamma)

    def work(part: slice) -> None:
        elements = slice(part.start * classes, part.stop * classes)
        _row_sums(x[elements], y[part], counted[part], out[part], classes, balance, power)

    share_rows(work, len(logits), 1 + ELEMENTS_A_THREAD // max(classes, 1))
    return sums


def focal_row_slopes(
    logits: Tensor, labels: Tensor, valid: Tensor | None, grad: Tensor, alpha: float | None, gamma: float
) -> Tensor:
    """``(R, C)`` derivatives in the logits of the sums, those of a row times its ``grad``."""
    slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
    x, y, counted, out = flat(logits), flat(labels), flat_or_none(valid), flat(slopes)
    is_shared = len(grad) > 0 and grad.stride() == (0,)  # behind a sum or mean: one factor, which costs no pass
    factors = flat(grad[:0] if is_shared else grad)
    classes, power = logits.shape[1], np.float32(gamma)
    balance = balance_of(float(grad[0]) if is_shared else 1.0, alpha)

    def work(part: slice) -> None:
        elements = slice(part.start * classes, part.stop * classes)
        _row_slopes(x[elements], y[part], counted[part], factors[part], out[elements], classes, balance, power)

    share_rows(work, len(logits), 1 + ELEMENTS_A_THREAD // max(classes, 1))
    return slopes


@njit(nogil=True, cache=True, error_model="numpy")
def _row_sums(logits, labels, counted, sums, classes, balance, gamma):
    base, tilt = balance
    rows = max(1, TILE // max(classes, 1))
    losses = np.empty(rows * classes, np.float32)
    for begin in range(0, len(labels), rows):
        some = labels[begin : begin + rows]
        near = logits[begin * classes : (begin + len(some)) * classes]
        _write_losses(near, losses[: len(near)], base, gamma)
        for row in range(len(some)):
            if some[row] >= 0:
                at = row * classes + some[row]
                _write_losses(-near[at : at + 1], losses[at : at + 1], base + tilt, gamma)
        _sum_rows(losses, classes, sums[begin : begin + len(some)])
    for row in range(len(counted)):
        sums[row] = sums[row] if counted[row] else ZERO


@njit(nogil=True, cache=True, error_model="numpy")
def _row_slopes(logits, labels, counted, factors, slopes, classes, balance, gamma):
    base, tilt = balance
    rows = max(1, TILE // max(classes, 1))
    for begin in range(0, len(labels), rows):
        some = labels[begin : begin + rows]
        elements = slice(begin * classes, (begin + len(some)) * classes)
        near, out = logits[elements], slopes[elements]
        _write_slopes(near, out, base, gamma)
        for row in range(len(some)):
            if some[row] >= 0:
                at = row * classes + some[row]
                _write_slopes(-near[at : at + 1], out[at : at + 1], -(base + tilt), gamma)
            if len(counted) > 0 and not counted[begin + row]:
                out[row * classes : (row + 1) * classes] = ZERO
            elif len(factors) > 0:
                _scale(out[row * classes : (row + 1) * classes], factors[begin + row])


@njit(nogil=True, cache=True, fastmath={"reassoc"})  # in any order, the same each time, so that several go at once
def _sum_rows(values, classes, sums):
    """In float32 over few of them, which goes twice as fast, and in float64 from there on."""
    for row in range(len(sums)):
        total, line = 0.0, values[row * classes : (row + 1) * classes]
        for begin in range(0, classes, A_SUM):
            few, part = line[begin : begin + A_SUM], ZERO
            for i in range(len(few)):
                part += few[i]
            total += np.float64(part)
        sums[row] = np.float32(total)


@njit(nogil=True, cache=True)
def _scale(values, factor):
    for i in range(len(values)):
        values[i] *= factor


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_losses(logits, losses, factor, gamma):
    """Those of negatives; γ = 2 has a loop of its own, for want of which it would take another exponential."""
    if gamma == TWO:
        for i in range(len(logits)):
            cross_entropy, p, _, _ = _parts(logits[i])
            losses[i] = factor * p * p * cross_entropy
    else:
        for i in range(len(logits)):
            cross_entropy, _, _, log_p = _parts(logits[i])
            losses[i] = factor * exp_of_negative(gamma * log_p) * cross_entropy


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_slopes(logits, slopes, factor, gamma):
    if gamma == TWO:
        for i in range(len(logits)):
            cross_entropy, p, q, _ = _parts(logits[i])
            slopes[i] = factor * p * p * (TWO * q * cross_entropy + p)
    else:
        for i in range(len(logits)):
            cross_entropy, p, q, log_p = _parts(logits[i])
            slopes[i] = factor * exp_of_negative(gamma * log_p) * (gamma * q * cross_entropy + p)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _parts(x):
    """Cross entropy of a negative, p, q and log p; nothing is one less something, so that tails have their digits."""
    small = exp_of_negative(-abs(x))
    larger = ONE / (ONE + small)
    smaller = small * larger
    rest = log1p_of_fraction(small)
    p, q = (larger, smaller) if x >= ZERO else (smaller, larger)
    log_p = (x if x < ZERO else ZERO) - rest
    return rest + (x if x > ZERO else ZERO), p, q, log_p if log_p > LOWEST else LOWEST

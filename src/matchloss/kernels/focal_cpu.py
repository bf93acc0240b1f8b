"""The focal loss on the CPU and its gradient, each in one read of the logits: nothing of their size is kept between.

With c the cross entropy, p = 1 - q the probability, u = p (1 - t) + q t what was missed and α_t = base + tilt t:

    loss = α_t u^γ c,   slope = α_t u^(γ-1) (γ (1 - 2t) p q c + u (p (1 - t) - q t))

One formula serves dense targets and labels, whose targets are made for a few rows at a time and never leave the cache.
No branch looks at an element, so that a compiler does several at once; γ = 2 has loops of its own, for want of which it
would take a logarithm and another exponential.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from .float_math_cpu import ONE, TWO, ZERO, exp_of_negative, log1p_of_fraction, log_of_normal
from .threads_cpu import share_rows

LEAST = np.float32(np.finfo(np.float32).tiny)
TILE = 2048
"""Elements whose targets and losses lie in the first cache at a time."""
A_SUM = 128
ELEMENTS_A_THREAD = 1 << 16


def focal_elements(logits: Tensor, targets: Tensor, alpha: float | None, gamma: float) -> Tensor:
    """Losses of float32 logits with targets of their shape."""
    loss = torch.empty_like(logits, memory_format=torch.contiguous_format)
    _share_elements(_values, logits, targets, loss, 1.0, alpha, gamma)
    return loss


def focal_element_slopes(logits: Tensor, targets: Tensor, factor: float, alpha: float | None, gamma: float) -> Tensor:
    """``factor`` times the derivatives in the logits."""
    slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
    _share_elements(_slopes, logits, targets, slopes, factor, alpha, gamma)
    return slopes


def focal_row_sums(logits: Tensor, labels: Tensor, valid: Tensor | None, alpha: float | None, gamma: float) -> Tensor:
    """``(R,)`` sums over the classes of float32 ``(R, C)`` logits; labels are -1 for background."""
    sums = torch.empty(len(logits))
    x, y, counted, out = _flat(logits), _flat(labels), _counted(valid), sums.numpy()
    classes, balance, power = logits.shape[1], _balance(1.0, alpha), np.float32(gamma)

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
    x, y, counted, out = _flat(logits), _flat(labels), _counted(valid), _flat(slopes)
    is_shared = len(grad) > 0 and grad.stride() == (0,)  # behind a sum or mean: one factor, which costs no pass
    factors = _flat(grad[:0] if is_shared else grad)
    classes, power = logits.shape[1], np.float32(gamma)
    balance = _balance(float(grad[0]) if is_shared else 1.0, alpha)

    def work(part: slice) -> None:
        elements = slice(part.start * classes, part.stop * classes)
        _row_slopes(x[elements], y[part], counted[part], factors[part], out[elements], classes, balance, power)

    share_rows(work, len(logits), 1 + ELEMENTS_A_THREAD // max(classes, 1))
    return slopes


def _share_elements(
    kernel: Callable[..., None],
    logits: Tensor,
    targets: Tensor,
    out: Tensor,
    factor: float,
    alpha: float | None,
    gamma: float,
) -> None:
    x, t, flat_out = _flat(logits), _flat(targets), _flat(out)
    balance, power = _balance(factor, alpha), np.float32(gamma)
    share_rows(lambda part: kernel(x[part], t[part], flat_out[part], balance, power), len(x), ELEMENTS_A_THREAD)


def _flat(values: Tensor) -> NDArray[Any]:
    return values.detach().contiguous().view(-1).numpy()


def _counted(valid: Tensor | None) -> NDArray[np.bool_]:
    """An empty array where all rows count, and so are its parts."""
    return np.empty(0, np.bool_) if valid is None else _flat(valid)


def _balance(factor: float, alpha: float | None) -> tuple[np.float32, np.float32]:
    """The weight of negatives, and by how much that of positives differs."""
    base, tilt = (1.0, 0.0) if alpha is None else (1 - alpha, 2 * alpha - 1)
    return np.float32(factor * base), np.float32(factor * tilt)


@njit(nogil=True, cache=True, error_model="numpy")
def _row_sums(logits, labels, counted, sums, classes, balance, gamma):
    rows = max(1, TILE // max(classes, 1))
    targets, losses = np.zeros(rows * classes, np.float32), np.empty(rows * classes, np.float32)
    for begin in range(0, len(labels), rows):
        some = labels[begin : begin + rows]
        size = len(some) * classes
        _set_targets(targets, some, classes, ONE)
        _values(logits[begin * classes : begin * classes + size], targets[:size], losses[:size], balance, gamma)
        _set_targets(targets, some, classes, ZERO)
        _sum_rows(losses, classes, sums[begin : begin + len(some)])
    for row in range(len(counted)):
        sums[row] = sums[row] if counted[row] else ZERO


@njit(nogil=True, cache=True, error_model="numpy")
def _row_slopes(logits, labels, counted, factors, slopes, classes, balance, gamma):
    rows = max(1, TILE // max(classes, 1))
    targets = np.zeros(rows * classes, np.float32)
    for begin in range(0, len(labels), rows):
        some = labels[begin : begin + rows]
        size = len(some) * classes
        out = slopes[begin * classes : begin * classes + size]
        _set_targets(targets, some, classes, ONE)
        _slopes(logits[begin * classes : begin * classes + size], targets[:size], out, balance, gamma)
        _set_targets(targets, some, classes, ZERO)
        for row in range(len(some)):
            if len(counted) > 0 and not counted[begin + row]:
                out[row * classes : (row + 1) * classes] = ZERO
            elif len(factors) > 0:
                _scale(out[row * classes : (row + 1) * classes], factors[begin + row])


@njit(nogil=True, cache=True)
def _set_targets(targets, labels, classes, value):
    for row in range(len(labels)):
        if labels[row] >= 0:
            targets[row * classes + labels[row]] = value


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


@njit(nogil=True, cache=True, error_model="numpy")
def _values(logits, targets, losses, balance, gamma):
    if gamma == TWO:
        _square_values(logits, targets, losses, balance)
    else:
        _power_values(logits, targets, losses, balance, gamma)


@njit(nogil=True, cache=True, error_model="numpy")
def _slopes(logits, targets, slopes, balance, gamma):
    if gamma == TWO:
        _square_slopes(logits, targets, slopes, balance)
    else:
        _power_slopes(logits, targets, slopes, balance, gamma)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _square_values(logits, targets, losses, balance):
    base, tilt = balance
    for i in range(len(logits)):
        t = targets[i]
        cross_entropy, missed, _, _ = _parts(logits[i], t)
        losses[i] = (base + tilt * t) * missed * missed * cross_entropy


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _power_values(logits, targets, losses, balance, gamma):
    base, tilt = balance
    for i in range(len(logits)):
        t = targets[i]
        cross_entropy, missed, _, _ = _parts(logits[i], t)
        losses[i] = (base + tilt * t) * exp_of_negative(gamma * _log(missed)) * cross_entropy


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _square_slopes(logits, targets, slopes, balance):
    base, tilt = balance
    for i in range(len(logits)):
        t = targets[i]
        cross_entropy, missed, spread, distance = _parts(logits[i], t)
        of_missed = TWO * (ONE - TWO * t) * spread * cross_entropy
        slopes[i] = (base + tilt * t) * missed * (of_missed + missed * distance)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _power_slopes(logits, targets, slopes, balance, gamma):
    base, tilt = balance
    for i in range(len(logits)):
        t = targets[i]
        cross_entropy, missed, spread, distance = _parts(logits[i], t)
        of_missed = gamma * (ONE - TWO * t) * (spread / _or_least(missed)) * cross_entropy
        slopes[i] = (base + tilt * t) * exp_of_negative(gamma * _log(missed)) * (of_missed + distance)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _parts(x, t):
    """Cross entropy, u, p q and p - t; nothing is one less something, so that all have their digits in the tails."""
    small = exp_of_negative(-abs(x))
    larger = ONE / (ONE + small)
    smaller = small * larger
    p, q = (larger, smaller) if x >= ZERO else (smaller, larger)
    cross_entropy = log1p_of_fraction(small) + ((x if x > ZERO else ZERO) - t * x)
    return cross_entropy, p * (ONE - t) + q * t, p * q, p * (ONE - t) - q * t


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _log(missed):
    return log_of_normal(_or_least(missed))


@njit(nogil=True, cache=True)
def _or_least(missed):
    """Not zero, where a power below 1 has an infinite slope."""
    return LEAST if missed < LEAST else missed

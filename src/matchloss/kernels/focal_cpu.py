"""The focal loss of dense targets on the CPU and its gradient, each in one read: nothing of their size is kept between.

With c the cross entropy, p = 1 - q the probability, u = p (1 - t) + q t what was missed and α_t = base + tilt t:

    loss = α_t u^γ c,   slope = α_t u^(γ-1) (γ (1 - 2t) p q c + u (p (1 - t) - q t))

No branch looks at an element, so that a compiler does several at once; γ = 2 has loops of its own, for want of which it
would take a logarithm and another exponential.
"""

from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .arrays_cpu import flat
from .float_math_cpu import ONE, TWO, ZERO, exp_of_negative, log1p_of_fraction, log_of_normal
from .threads_cpu import share_rows

LEAST = np.float32(np.finfo(np.float32).tiny)
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


def _share_elements(
    kernel: Callable[..., None],
    logits: Tensor,
    targets: Tensor,
    out: Tensor,
    factor: float,
    alpha: float | None,
    gamma: float,
) -> None:
    x, t, flat_out = flat(logits), flat(targets), flat(out)
    balance, power = balance_of(factor, alpha), np.float32(gamma)
    share_rows(lambda part: kernel(x[part], t[part], flat_out[part], balance, power), len(x), ELEMENTS_A_THREAD)


def balance_of(factor: float, alpha: float | None) -> tuple[np.float32, np.float32]:
    """The weight of negatives, and by how much that of positives differs."""
    base, tilt = (1.0, 0.0) if alpha is None else (1 - alpha, 2 * alpha - 1)
    return np.float32(factor * base), np.float32(factor * tilt)


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

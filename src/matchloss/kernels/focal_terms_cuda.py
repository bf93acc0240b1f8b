"""The element of the focal family and its slope, for the kernels that sum it over classes or leave it alone.

With ``p = sigmoid(x)``, ``q = sigmoid(-x)`` and the cross entropy ``c = softplus(x) - x t``:

    kind         target t > 0, or the labelled class    t = 0
    focal        α_t u^γ c,  u = p (1 - t) + q t        (1 - α) p^γ c
    quality      |t q - (1 - t) p|^γ c                  p^γ c
    varifocal    t c                                    α p^γ c
    matched      c                                      α p^γ c

All come from ``e = exp(-|x|)`` and ``log(1 + e)``: nothing is subtracted from 1, so that both tails keep their digits.
Half precision is read faster than this is computed, hence few instructions: the logarithm is a polynomial, and a power
of a probability is one exponential of its logarithm, whatever the exponent.
"""

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
TINY: tl.constexpr = tl.constexpr(1.1754943508222875e-38)
"""The least normal float32; the gradient of a power below 1 is infinite at 0."""


@triton.jit
def log_of_one_plus(e):
    """``log(1 + e)`` for e in [0, 1], with a relative error of 2e-7 however small e is."""
    series = tl.fma(e, 0.005232691, -0.029505227)
    series = tl.fma(series, e, 0.07822593)
    series = tl.fma(series, e, -0.13663244)
    series = tl.fma(series, e, 0.19106007)
    series = tl.fma(series, e, -0.24842982)
    series = tl.fma(series, e, 0.33319098)
    series = tl.fma(series, e, -0.49999493)
    return e * tl.fma(series, e, 0.99999994)


@triton.jit
def negative_loss(x, gamma, power: tl.constexpr):
    """``p^γ softplus(x)``; 0 for a logit of -inf, which stands for no element."""
    log = log_of_one_plus(tl.exp2(tl.abs(x) * -LOG2E))
    loss = tl.maximum(x, 0.0) + log
    if power == 0:
        return loss
    return tl.exp2((tl.minimum(x, 0.0) - log) * (gamma * LOG2E)) * loss


@triton.jit
def negative_slope(x, gamma, power: tl.constexpr, detach: tl.constexpr):
    """``p^γ (γ q softplus(x) + p)``; with ``detach``, p^γ is a constant: ``p^γ p``."""
    log, p, q = probabilities(x)
    if power == 0:
        return p
    if power == 2:
        focus = p * p
    else:
        focus = tl.exp2((tl.minimum(x, 0.0) - log) * (gamma * LOG2E))
    if detach:
        return focus * p
    return focus * tl.fma(gamma * q, tl.maximum(x, 0.0) + log, p)


@triton.jit
def probabilities(x):
    """``log(1 + exp(-|x|))``, p and q."""
    e = tl.exp2(tl.abs(x) * -LOG2E)
    log = log_of_one_plus(e)
    larger = tl.exp2(log * -LOG2E)  # 1 / (1 + e), for which a division would take twice as long
    smaller = e * larger
    return log, tl.where(x < 0, smaller, larger), tl.where(x < 0, larger, smaller)


@triton.jit
def soft_term(
    x, t, positive, of_positives, of_negatives, gamma, kind: tl.constexpr, power: tl.constexpr, detach: tl.constexpr
):
    """Loss and slope of a logit with a target in [0, 1]."""
    log, p, q = probabilities(x)
    loss = log + tl.where(x < 0, -x * t, x * (1 - t))
    beyond = p * (1 - t) - q * t  # p - t, the slope of the cross entropy
    if kind == "focal":
        factor = of_negatives + t * (of_positives - of_negatives)
        missed = p * (1 - t) + q * t
        loss, slope = powered(missed, gamma * (1 - 2 * t) * (p * q), loss, beyond, gamma, power)
        return factor * loss, factor * slope
    if kind == "quality":
        turn = tl.where(beyond < 0, -gamma, tl.where(beyond > 0, gamma, 0.0))
        return powered(tl.abs(beyond), turn * (p * q), loss, beyond, gamma, power)
    if kind == "varifocal":
        weight = of_positives * t
    else:
        weight = of_positives
    turn = (0.0 if detach else gamma) * (p * q)
    negative, negative_slope = powered(p, turn, loss, beyond, gamma, power)
    loss = tl.where(positive, weight * loss, of_negatives * negative)
    return loss, tl.where(positive, weight * beyond, of_negatives * negative_slope)


@triton.jit
def powered(base, turn, loss, beyond, gamma, power: tl.constexpr):
    """``b^γ c`` and its slope ``b^γ (γ b' / b c + c')``; ``turn`` is γ b' and ``beyond`` is c'."""
    if power == 0:
        return loss, beyond
    if power == 1:
        return base * loss, turn * loss + base * beyond
    if power == 2:
        return base * base * loss, base * (turn * loss + base * beyond)
    base = tl.maximum(base, TINY)
    focus = tl.exp2(gamma * tl.log2(base))
    return focus * loss, focus * (turn / base * loss + beyond)


def weights(kind: str, alpha: float | None) -> tuple[float, float]:
    """Of the positives and of the negatives: focal balances the two, varifocal and matched turn the negatives down."""
    if alpha is None:
        return 1.0, 1.0
    return (alpha, 1 - alpha) if kind == "focal" else (1.0, alpha)


def powers(gamma: float) -> int | None:
    """The exponents that take no exponential."""
    return int(gamma) if gamma in (0, 1, 2) else None

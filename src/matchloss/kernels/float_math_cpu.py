"""exp, log and log1p of float32 on the CPU, for loops of which a compiler does several steps at once.

Those of the C library would be called one element at a time; these have neither a call nor a branch. Each is within 2
units in the last place over the range that its name says, and a NaN stays a NaN.

Of fast mathematics they take "contract" alone, a product and a sum in one step. It loses neither NaN nor infinity. With
"reassoc" the rounding to a whole number below would be simplified away.
"""

import math

import numpy as np
from numba import njit

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
OVER_LN2 = np.float32(1 / math.log(2))
LN2_HIGH = np.float32(0.693359375)  # few bits, so that its product with an exponent is exact; the other has the rest
LN2_LOW = np.float32(math.log(2) - 0.693359375)
WHOLE = np.float32(1.5 * 2**23)
"""Added, it rounds to a whole number, which then stands in the lowest bits."""
LEAST_EXPONENT = np.float32(-87.3)  # e to that is just above the least normal number
# Of (e^r - 1 - r) / r² in powers of r, fitted for |r| <= ln(2) / 2: the exponential has an error of 1e-8.
E0, E1, E2, E3, E4 = (np.float32(c) for c in (0.5, 0.16666577, 0.04166655, 0.0083632, 0.00139262))
# Of (2 atanh(s) / s - 2) / s² in powers of s², fitted for s <= 1/3, with a relative error of 1.6e-8.
A0, A1, A2, A3 = (np.float32(c) for c in (0.6666664, 0.40007561, 0.2823662, 0.26851498))
# The same for |s| <= 0.1716, that is for numbers from sqrt(1/2) to sqrt(2), with an error of 3e-9.
B0, B1, B2 = (np.float32(c) for c in (0.66666685, 0.39988773, 0.29580277))
MANTISSA, BIAS = np.int32(23), np.int32(127 << 23)
ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def exp_of_negative(x):
    """``e^x`` for x <= 0; 0 where that is less than the least normal number."""
    shifted = x * OVER_LN2 + WHOLE
    exponent = shifted - WHOLE
    rest = x - exponent * LN2_HIGH
    rest = rest - exponent * LN2_LOW
    series = ONE + (rest + rest * rest * (E0 + rest * (E1 + rest * (E2 + rest * (E3 + rest * E4)))))
    power = np.int32((np.float32(shifted).view(np.int32) << MANTISSA) + BIAS).view(np.float32)  # of two
    return ZERO if x < LEAST_EXPONENT else series * power


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def log1p_of_fraction(x):
    """``log(1 + x)`` for x in [0, 1], as 2 atanh(x / (2 + x))."""
    s = x / (TWO + x)
    z = s * s
    return TWO * s + s * z * (A0 + z * (A1 + z * (A2 + z * A3)))


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def log_of_normal(x):
    """``log x`` for finite x not below the least normal number."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32(bits - ROOT_HALF) >> MANTISSA
    fraction = np.int32(bits - (exponent << MANTISSA)).view(np.float32)  # from sqrt(1/2) to sqrt(2)
    s = (fraction - ONE) / (fraction + ONE)
    z = s * s
    whole = np.float32(exponent)
    logarithm = whole * LN2_HIGH + (TWO * s + (s * z * (B0 + z * (B1 + z * B2)) + whole * LN2_LOW))
    return x if x != x else logarithm  # the bits of a NaN are those of some number too


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def add(total, value):
    """A sum whose order is the compiler's, but always the same: only so may it keep several sums at once."""
    return total + value

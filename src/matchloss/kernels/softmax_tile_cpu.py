"""Logits of a few pixels with all their classes, and their exponentials, as they lie in the first cache."""

import numpy as np
from numba import njit

from .float_math_cpu import ZERO, exp_of_negative

TILE = 6144
"""Logits a tile."""
WIDEST, NARROWEST, STEP = 1024, 32, 16


@njit(nogil=True, cache=True)
def tile_width(classes):
    """Pixels a tile: whole registers, and enough of them that a loop over pixels is worth its start."""
    return max(NARROWEST, min(WIDEST, TILE // classes // STEP * STEP))


@njit(nogil=True, cache=True)
def load_tile(logits, place, tile, highest):
    """Copy each class in a line of its own, and find the highest logit of each pixel.

    In the logits, the classes of a pixel lie so far apart that they push each other out of the cache. ``place`` is
    where the first class begins, and how far it is to the next.
    """
    start, step = place
    count = len(highest)
    highest[:] = -np.float32(np.inf)
    for k in range(len(tile) // count):
        _copy(logits[start + k * step : start + k * step + count], tile[k * count : (k + 1) * count], highest)


@njit(nogil=True, cache=True)
def _copy(logits, line, highest):
    for i in range(len(line)):
        value, high = logits[i], highest[i]
        line[i] = value
        highest[i] = value if value > high else high


@njit(nogil=True, cache=True, error_model="numpy")
def exponentiate(tile, highest, total):
    """In place, of the logits less the highest of the pixel; and sum over the classes."""
    count = len(total)
    total[:] = ZERO
    for k in range(len(tile) // count):
        _exponentiate(tile[k * count : (k + 1) * count], highest, total)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _exponentiate(line, highest, total):
    for i in range(len(line)):
        exponential = exp_of_negative(line[i] - highest[i])
        line[i] = exponential
        total[i] += exponential

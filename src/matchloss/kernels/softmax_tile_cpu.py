"""Logits of a few pixels with all their classes, and their exponentials, as they lie in cache."""

import numpy as np
from numba import njit

from .float_math_cpu import ZERO, exp_of_negative

TILE = 1 << 15
"""Logits a tile, which fit the second cache; a line of them, with what belongs to it, the first."""
WIDEST, NARROWEST, STEP = 1024, 32, 16


@njit(nogil=True, cache=True)
def tile_width(classes):
    """Pixels a tile: whole cache lines, and enough of them that a loop over pixels is worth its start.

    An odd number of cache lines, or else the classes of a pixel would push each other out of the cache.
    """
    lines = min(WIDEST, TILE // classes) // STEP
    return max(NARROWEST, (lines - 1 | 1) * STEP)


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
def load_rows(logits, tile, highest):
    """The same of logits where the classes of a pixel lie beside each other."""
    count = len(highest)
    classes = len(tile) // count
    for i in range(count):
        row = logits[i * classes : (i + 1) * classes]
        for k in range(len(row)):
            tile[k * count + i] = row[k]
    highest[:] = -np.float32(np.inf)
    for k in range(classes):
        _raise(tile[k * count : (k + 1) * count], highest)


@njit(nogil=True, cache=True)
def _copy(logits, line, highest):
    for i in range(len(line)):
        value, high = logits[i], highest[i]
        line[i] = value
        highest[i] = value if value > high else high


@njit(nogil=True, cache=True)
def _raise(line, highest):
    for i in range(len(line)):
        value, high = line[i], highest[i]
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


@njit(nogil=True, cache=True)
def pick(tile, labels, counted, own):
    """The labels' own logits; 0 where not valid, for there the label may be none."""
    count = len(own)
    for i in range(count):
        own[i] = tile[labels[i] * count + i] if len(counted) == 0 or counted[i] else ZERO


@njit(nogil=True, cache=True)
def clear(line, counted):
    """0 where not valid."""
    for i in range(len(counted)):
        line[i] = line[i] if counted[i] else ZERO


@njit(nogil=True, cache=True)
def copy_pulls(given, at, counted, pulls):
    """Gradients of some pixels, of one number for all or of one for each."""
    if len(given) == 1:
        pulls[:] = given[0]
    else:
        pulls[:] = given[at : at + len(pulls)]
    clear(pulls, counted)

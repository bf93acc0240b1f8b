"""Which cells of a row of sampling points lie in a quad, as the plain form of the encoders computes it, in float32."""

import math

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def row_window(quads, b, r, rows, stride):
    """First row of sampling points that a quad reaches, and the one after the last."""
    top = min(min(quads[b, r, 0, 1], quads[b, r, 1, 1]), min(quads[b, r, 2, 1], quads[b, r, 3, 1]))
    bottom = max(max(quads[b, r, 0, 1], quads[b, r, 1, 1]), max(quads[b, r, 2, 1], quads[b, r, 3, 1]))
    return cells_before(top, rows, stride), cells_before(bottom, rows, stride)


@njit(nogil=True, cache=True, error_model="numpy")
def row_spans(quads, b, r, i, width, stride):
    """Two spans of cells, from each start up to, and not with, the end; empty where both are equal."""
    y = np.float32(i) * stride
    first = _cells_left(quads, b, r, 0, y, width, stride)
    second = _cells_left(quads, b, r, 1, y, width, stride)
    third = _cells_left(quads, b, r, 2, y, width, stride)
    fourth = _cells_left(quads, b, r, 3, y, width, stride)
    first, second = min(first, second), max(first, second)
    third, fourth = min(third, fourth), max(third, fourth)
    first, third = min(first, third), max(first, third)
    second, fourth = min(second, fourth), max(second, fourth)
    return first, min(second, third), max(second, third), fourth


@njit(nogil=True, cache=True, error_model="numpy")
def _cells_left(quads, b, r, k, y, width, stride):
    """How many cells of the row lie to the left of where edge k crosses it; 0 where it does not."""
    start_x, start_y = quads[b, r, k, 0], quads[b, r, k, 1]
    end_x, end_y = quads[b, r, (k + 1) % 4, 0], quads[b, r, (k + 1) % 4, 1]
    if (start_y <= y) == (end_y <= y):
        return 0
    slope = (end_x - start_x) / (end_y - start_y)
    return cells_before(start_x + (y - start_y) * slope, width, stride)


@njit(nogil=True, cache=True, error_model="numpy")
def cells_before(place, cells, stride):
    """How many of the points 0, s, 2s, ... are less than a place, of so many; 0 for NaN."""
    if not place > np.float32(0):
        return 0
    if place > np.float32(cells - 1) * stride:
        return cells
    count = math.ceil(place / stride)
    while np.float32(count - 1) * stride >= place:  # the division rounds
        count -= 1
    while np.float32(count) * stride < place:
        count += 1
    return count

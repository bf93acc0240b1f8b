"""What target maps are drawn from, word by word on the CPU: winding and measures, inner part, rectangle, central cell.

The arithmetic is that of the plain forms, operation by operation, in float32; only atan2, and one length in ten
million, rounds otherwise.
"""

import math

import numpy as np
from numba import njit

from ..geometry.quads import TIE

ZERO, ONE, TWO, FOUR = np.float32(0), np.float32(1), np.float32(2), np.float32(4)
INFINITY, SAME = np.float32(np.inf), np.float32(TIE)
HALF_TURN, QUARTER, EIGHTH = np.float32(math.pi), np.float32(math.pi / 2), np.float32(math.pi / 4)


@njit(nogil=True, cache=True)
def measure(quads, flat, area, shortest, proper):
    """Turn finite quads ``(N, 4, 2)`` clockwise; write area, shortest side, and whether each is a proper word."""
    for n in range(len(quads)):
        quad, least, longest = quads[n], INFINITY, ZERO
        size = _cross(quad, 0, 2, 1, 3) / TWO
        if size < ZERO:
            for k in range(2):
                quad[1, k], quad[3, k] = quad[3, k], quad[1, k]
        for i in range(4):
            after = (i + 1) % 4
            side = _length(quad[after, 0] - quad[i, 0], quad[after, 1] - quad[i, 1])
            least, longest = min(least, side), max(longest, side)
        area[n], shortest[n] = abs(size), least
        proper[n] = area[n] > flat * longest * longest and least > ZERO and not _crosses_itself(quad)


@njit(nogil=True, cache=True)
def _crosses_itself(quad):
    for a, b, c, d in ((0, 1, 2, 3), (1, 2, 3, 0)):
        if _apart(_cross(quad, a, b, a, c), _cross(quad, a, b, a, d)) and _apart(
            _cross(quad, c, d, c, a), _cross(quad, c, d, c, b)
        ):
            return True
    return False


@njit(nogil=True, cache=True)
def _apart(one, other):
    """Of opposite signs; their product may be too small for one."""
    return (one < ZERO and other > ZERO) or (one > ZERO and other < ZERO)


@njit(nogil=True, cache=True)
def _cross(quad, a, b, c, d):
    """Of the vectors from corner a to b and from c to d."""
    return (quad[b, 0] - quad[a, 0]) * (quad[d, 1] - quad[c, 1]) - (quad[b, 1] - quad[a, 1]) * (quad[d, 0] - quad[c, 0])


@njit(nogil=True, cache=True)
def _length(x, y):
    """As `hypot` rounds: float64 holds the squares exactly."""
    x, y = np.float64(x), np.float64(y)
    return np.float32(math.sqrt(x * x + y * y))


@njit(nogil=True, cache=True, error_model="numpy")
def shrink(quads, share):
    """`shrink_quads` of ``(N, 4, 2)``, in place."""
    sides, reach = np.empty(4, np.float32), np.empty(4, np.float32)
    for n in range(len(quads)):
        quad = quads[n]
        for i in range(4):
            after = (i + 1) % 4
            sides[i] = _length(quad[after, 0] - quad[i, 0], quad[after, 1] - quad[i, 1])
        for i in range(4):
            reach[i] = share * min(sides[i], sides[i - 1])
        first = 0 if sides[0] + sides[2] > sides[1] + sides[3] else 1  # the longer pair goes first
        for start in (first, first + 2, first + 1, first + 3):
            _shorten(quad, reach, start % 4, (start + 1) % 4)


@njit(nogil=True, cache=True, error_model="numpy")
def _shorten(quad, reach, start, end):
    """Move two corners towards each other, each by its own reach."""
    x, y = quad[end, 0] - quad[start, 0], quad[end, 1] - quad[start, 1]
    length = _length(x, y)
    length = ONE if length == ZERO else length
    x, y = x / length, y / length
    quad[start, 0], quad[start, 1] = quad[start, 0] + reach[start] * x, quad[start, 1] + reach[start] * y
    quad[end, 0], quad[end, 1] = quad[end, 0] - reach[end] * x, quad[end, 1] - reach[end] * y


@njit(nogil=True, cache=True, error_model="numpy")
def enclose(quads, folded, boxes):
    """`enclosing_rectangles` of ``(N, 4, 2)``, with angles from -45 to 45 degrees or -90 to 90: boxes ``(N, 5)``."""
    points, areas = np.empty((4, 2), np.float32), np.empty(6, np.float32)
    # Per direction of two corners: its unit vector, and how far the corners reach along it and across.
    unit, low, high = np.empty((6, 2), np.float32), np.empty((6, 2), np.float32), np.empty((6, 2), np.float32)
    for n in range(len(quads)):
        for i in range(4):
            points[i, 0], points[i, 1] = quads[n, i, 0] - quads[n, 0, 0], quads[n, i, 1] - quads[n, 0, 1]
        for d in range(6):
            start, end = (d, (d + 1) % 4) if d < 4 else (d - 4, d - 2)  # sides, then diagonals
            unit[d, 0], unit[d, 1] = _unit(points[end, 0] - points[start, 0], points[end, 1] - points[start, 1])
            _reach(points, unit[d, 0], unit[d, 1], low[d], high[d])
        best = _first_smallest(low, high, areas)
        u_x, u_y = unit[best, 0], unit[best, 1]
        x, y = (low[best, 0] + high[best, 0]) / TWO, (low[best, 1] + high[best, 1]) / TWO
        boxes[n, 0], boxes[n, 1] = quads[n, 0, 0] + x * u_x - y * u_y, quads[n, 0, 1] + x * u_y + y * u_x
        width, height = high[best, 0] - low[best, 0], high[best, 1] - low[best, 1]
        quarter = _is_read_across(points, u_x, u_y)
        u_x, u_y = (-u_y, u_x) if quarter else (u_x, u_y)  # or a half turn from that: the range of angles settles it
        angle, turned = _in_range(np.float32(math.atan2(np.float64(u_y), np.float64(u_x))), folded)
        boxes[n, 2], boxes[n, 3] = (height, width) if quarter != turned else (width, height)
        boxes[n, 4] = angle


@njit(nogil=True, cache=True, error_model="numpy")
def _unit(x, y):
    """Of two equal corners to the right."""
    longer = max(abs(x), abs(y))
    if not longer > ZERO:
        return ONE, ZERO
    x, y = x / longer, y / longer
    length = _length(x, y)
    return x / length, y / length


@njit(nogil=True, cache=True)
def _reach(points, u_x, u_y, low, high):
    low[:], high[:] = INFINITY, -INFINITY
    for i in range(4):
        along = points[i, 0] * u_x + points[i, 1] * u_y
        across = points[i, 1] * u_x - points[i, 0] * u_y
        low[0], high[0] = min(low[0], along), max(high[0], along)
        low[1], high[1] = min(low[1], across), max(high[1], across)


@njit(nogil=True, cache=True, error_model="numpy")
def _first_smallest(low, high, areas):
    """The first direction whose rectangle is the smallest one, up to rounding."""
    longest, least = ZERO, INFINITY
    for d in range(6):
        longest = max(longest, max(high[d, 0] - low[d, 0], high[d, 1] - low[d, 1]))
    longest = ONE if longest == ZERO else longest
    for d in range(6):
        areas[d] = ((high[d, 0] - low[d, 0]) / longest) * ((high[d, 1] - low[d, 1]) / longest)
        least = min(least, areas[d])
    for d in range(6):
        if areas[d] <= least * SAME:
            return d
    return 0


@njit(nogil=True, cache=True)
def _is_read_across(points, u_x, u_y):
    """Whether a rectangle's width, as the quad is read, runs across the direction."""
    right_x = (points[1, 0] - points[0, 0]) + (points[2, 0] - points[3, 0])
    right_y = (points[1, 1] - points[0, 1]) + (points[2, 1] - points[3, 1])
    down_x = (points[3, 0] - points[0, 0]) + (points[2, 0] - points[1, 0])
    down_y = (points[3, 1] - points[0, 1]) + (points[2, 1] - points[1, 1])
    straight = (u_x * right_x - u_y * down_x) + (u_y * right_y + u_x * down_y)
    turned = (-u_y * right_x - u_x * down_x) + (u_x * right_y - u_y * down_y)
    return abs(turned) > abs(straight)


@njit(nogil=True, cache=True)
def _in_range(angle, folded):
    """The angle less half turns, or quarters, as in `turn_boxes`; whether the sides change places."""
    if folded:
        turns = np.float32(math.floor((angle + EIGHTH) / QUARTER))
        return angle - turns * QUARTER, turns % TWO == ONE
    turns = np.float32(math.ceil((angle - QUARTER) / HALF_TURN))
    return angle - turns * HALF_TURN, False


@njit(nogil=True, cache=True, error_model="numpy")
def find_cells(quads, height, width, stride, cells):
    """`central_cells` of ``(N, 4, 2)``."""
    for n in range(len(quads)):
        quad = quads[n]
        j = _nearest((quad[0, 0] + quad[1, 0] + quad[2, 0] + quad[3, 0]) / FOUR / stride, width)
        i = _nearest((quad[0, 1] + quad[1, 1] + quad[2, 1] + quad[3, 1]) / FOUR / stride, height)
        inside = _is_inside(quad, np.float32(j) * stride, np.float32(i) * stride)
        cells[n] = i * width + j if inside else -1


@njit(nogil=True, cache=True)
def _nearest(place, cells):
    """Of the numbers from 0, so many, that nearest to a place; of two the even one. Of NaN any."""
    return int(min(max(np.rint(place), ZERO), np.float32(cells - 1)))


@njit(nogil=True, cache=True, error_model="numpy")
def _is_inside(quad, x, y):
    """Whether an odd number of edges cross the point's row to the right of it."""
    inside = False
    for k in range(4):
        after = (k + 1) % 4
        if (quad[k, 1] <= y) != (quad[after, 1] <= y):
            slope = (quad[after, 0] - quad[k, 0]) / (quad[after, 1] - quad[k, 1])
            inside = inside != (x < quad[k, 0] + (y - quad[k, 1]) * slope)
    return inside

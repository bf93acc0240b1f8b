"""Locality-aware merging and suppression of quads on the CPU, one pair at a time, in float64.

The plain form does the same pair by pair with the overlap of the geometry; both agree to the last digits.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
MOST_CORNERS = 64
"""Of a quad after four cuts: eight, but for rounding, by which a cut may double them at worst."""


def merge_in_order(
    quads: Floats, scores: Floats, components: Indices | None, *, threshold: float, flat: float
) -> tuple[Floats, Floats, Indices]:
    """Merged quads, the sums of their scores and how many each is of; see the plain form, whose ``FLAT`` is given."""
    groups = np.zeros(len(quads), np.int64) if components is None else components
    size = int(groups.max(initial=-1)) + 1
    only_last = components is None
    merged: tuple[Floats, Floats, Indices] = _merge(quads, scores, groups, size, only_last, threshold, flat)
    return merged


def suppress(quads: Floats, threshold: float) -> NDArray[np.bool_]:
    """Which of the quads, the best first, overlap with no kept one by more than the threshold."""
    kept: NDArray[np.bool_] = _suppress(quads, threshold)
    return kept


@njit(nogil=True, cache=True, error_model="numpy")
def _merge(quads, scores, groups, size, only_last, threshold, flat):
    """Merges of a group are a chain, from the newest to the oldest."""
    count = len(quads)
    merged, weights, members = np.empty((count, 4, 2)), np.empty(count), np.empty(count, np.int64)
    newest, older = np.full(size, -1), np.empty(count, np.int64)
    work, quad = np.empty((2, MOST_CORNERS, 2)), np.empty((4, 2))
    number = 0
    for i in range(count):
        if not _read(quads[i], scores[i], flat, quad):
            continue
        best, best_overlap = -1, threshold
        rival = newest[groups[i]]
        while rival >= 0:
            overlap = _iou(merged[rival], quad, work)
            if overlap > threshold and overlap >= best_overlap:  # the oldest of equals
                best, best_overlap = rival, overlap
            rival = -1 if only_last else older[rival]
        if best >= 0:
            _absorb(merged[best], weights[best], quad, scores[i])
            weights[best] += scores[i]
            members[best] += 1
        else:
            merged[number], weights[number], members[number] = quad, scores[i], 1
            older[number], newest[groups[i]] = newest[groups[i]], number
            number += 1
    return merged[:number], weights[:number], members[:number]


@njit(nogil=True, cache=True, error_model="numpy")
def _read(given, score, flat, quad):
    """Write a candidate clockwise, unless it is broken, flat or crosses itself; tell whether it was written."""
    if not (0 < score < np.inf):
        return False
    for corner in range(4):
        if not (np.isfinite(given[corner, 0]) and np.isfinite(given[corner, 1])):
            return False
    area = _twice_area(given, 0) / 2
    extent = max(_highest(given, 0) - _lowest(given, 0), _highest(given, 1) - _lowest(given, 1))
    if not flat * extent * extent < abs(area) < np.inf or _sides_cross(given, 0) or _sides_cross(given, 1):
        return False
    for corner in range(4):
        turned = corner if area > 0 else (4 - corner) % 4
        quad[corner, 0], quad[corner, 1] = given[turned, 0], given[turned, 1]
    return True


@njit(nogil=True, cache=True)
def _sides_cross(quad, k):
    """Whether side number k and the one across cross."""
    a, b, c, d = k, k + 1, k + 2, (k + 3) % 4
    return _turn(quad, a, b, c) * _turn(quad, a, b, d) < 0 and _turn(quad, c, d, a) * _turn(quad, c, d, b) < 0


@njit(nogil=True, cache=True)
def _turn(quad, a, b, c):
    """1 if a corner lies to the right of the line through two others, -1 to the left, 0 on it."""
    x, y = quad[b, 0] - quad[a, 0], quad[b, 1] - quad[a, 1]
    return np.sign(x * (quad[c, 1] - quad[a, 1]) - y * (quad[c, 0] - quad[a, 0]))


@njit(nogil=True, cache=True, error_model="numpy")
def _absorb(merged, weight, quad, score):
    """Weighted mean, of the corners in that turn in which they are closest."""
    turn, least = 0, np.inf
    for shift in range(4):
        apart = 0.0
        for corner in range(4):
            for axis in range(2):
                apart += (quad[(corner + shift) % 4, axis] - merged[corner, axis]) ** 2
        if apart < least:
            turn, least = shift, apart
    for corner in range(4):
        for axis in range(2):
            sides = weight * merged[corner, axis] + score * quad[(corner + turn) % 4, axis]
            merged[corner, axis] = sides / (weight + score)


@njit(nogil=True, cache=True, error_model="numpy")
def _suppress(quads, threshold):
    count = len(quads)
    kept, chosen, number = np.zeros(count, np.bool_), np.empty(count, np.int64), 0
    work = np.empty((2, MOST_CORNERS, 2))
    for i in range(count):
        free = True
        for k in range(number):
            if _iou(quads[chosen[k]], quads[i], work) > threshold:
                free = False
                break
        if free:
            kept[i] = True
            chosen[number] = i
            number += 1
    return kept


@njit(nogil=True, cache=True, error_model="numpy")
def _iou(quad, other, work):
    """Of two quads that do not cross themselves."""
    for axis in range(2):
        if _highest(quad, axis) <= _lowest(other, axis) or _highest(other, axis) <= _lowest(quad, axis):
            return 0.0
    area, other_area = _twice_area(quad, 0), _twice_area(other, 0)
    shared = 0.0
    for part in _parts(quad):
        for other_part in _parts(other):
            shared += _signed_intersection(quad, part, other, other_part, work)
    if area < 0:
        area, shared = -area, -shared
    if other_area < 0:
        other_area, shared = -other_area, -shared
    shared = max(shared, 0.0)
    union = area + other_area - shared
    return shared / union if union > 0 else 0.0


@njit(nogil=True, cache=True)
def _lowest(quad, axis):
    return min(min(quad[0, axis], quad[1, axis]), min(quad[2, axis], quad[3, axis]))


@njit(nogil=True, cache=True)
def _highest(quad, axis):
    return max(max(quad[0, axis], quad[1, axis]), max(quad[2, axis], quad[3, axis]))


@njit(nogil=True, cache=True)
def _parts(quad):
    """A convex quad is one part, number 0; others are two triangles at the first corner, numbers 1 and 2."""
    left, right = False, False
    for k in range(4):
        turn = _turn(quad, k, (k + 1) % 4, (k + 2) % 4)
        left, right = left or turn < 0, right or turn > 0
    return range(1, 3) if left and right else range(1)


@njit(nogil=True, cache=True)
def _corner(part, k):
    return k if part == 0 or k == 0 else part + k - 1


@njit(nogil=True, cache=True)
def _twice_area(quad, part):
    """Positive where the corners run clockwise on the screen."""
    a, b, c, d = (0, 2, 1, 3) if part == 0 else (0, part, 0, part + 1)
    x, y = quad[b, 0] - quad[a, 0], quad[b, 1] - quad[a, 1]
    return x * (quad[d, 1] - quad[c, 1]) - y * (quad[d, 0] - quad[c, 0])


@njit(nogil=True, cache=True, error_model="numpy")
def _signed_intersection(quad, part, other, other_part, work):
    """Twice the area that two convex parts share, with the product of their signs: one cut at the other's sides.

    Coordinates are taken from a corner of the first: far from the origin no digits are lost.
    """
    area, other_area = _twice_area(quad, part), _twice_area(other, other_part)
    if area == 0 or other_area == 0:
        return 0.0
    count, now, turn = 4 if part == 0 else 3, 0, 1.0 if other_area > 0 else -1.0
    for k in range(count):
        for axis in range(2):
            work[0, k, axis] = quad[_corner(part, k), axis] - quad[0, axis]
    sides = 4 if other_part == 0 else 3
    for side in range(sides):
        begin, end = _corner(other_part, side), _corner(other_part, (side + 1) % sides)
        count = _cut(work[now], count, other[begin], other[end], quad[0], turn, work[1 - now])
        now = 1 - now
        if count == 0:
            return 0.0
    polygon, total = work[now], 0.0
    for k in range(count):
        after = 0 if k + 1 == count else k + 1
        total += polygon[k, 0] * polygon[after, 1] - polygon[k, 1] * polygon[after, 0]
    return turn * total


@njit(nogil=True, cache=True, error_model="numpy")
def _cut(polygon, count, begin, end, origin, turn, out):
    """Write the part of a convex polygon on the inner side of a line, and tell its number of corners."""
    x, y = begin[0] - origin[0], begin[1] - origin[1]
    along_x, along_y = turn * (end[0] - begin[0]), turn * (end[1] - begin[1])
    number, previous = 0, count - 1
    before = along_x * (polygon[previous, 1] - y) - along_y * (polygon[previous, 0] - x)
    for k in range(count):
        inner = along_x * (polygon[k, 1] - y) - along_y * (polygon[k, 0] - x)
        if (inner >= 0) != (before >= 0):
            share = before / (before - inner)
            for axis in range(2):
                out[number, axis] = polygon[previous, axis] + share * (polygon[k, axis] - polygon[previous, axis])
            number += 1
        if inner >= 0:
            out[number, 0], out[number, 1] = polygon[k, 0], polygon[k, 1]
            number += 1
        previous, before = k, inner
    return number

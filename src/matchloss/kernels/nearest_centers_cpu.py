"""The anchors nearest to each target on the CPU, level by level: only rows of anchors that are near are looked at.

The arithmetic is that of the plain form, operation by operation, in float32: both rank alike to the last bit.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .threads_cpu import share_rows

TWO = np.float32(2)
MAGNITUDE, PLACE_BITS, NEVER = np.int32(0x7FFFFFFF), np.int64(31), np.int64(2**63 - 1)
"""Of the keys of `assigners/_ranking.py`: the bits of a distance, then the place."""
PAIRS_A_THREAD = 2**22
"""Of target and anchor: fewer are done before a thread has started."""


def nearest_of_levels(centers: Tensor, counts: Sequence[int], boxes: Tensor, topk: int) -> Tensor:
    """``(B, M, K)`` places of the anchors with the nearest centres, nearest first, of equals the lowest.

    Args:
        centers: (A, 2) float32, level after level.
        counts: how many anchors each level has.
        boxes: (B, M, 4) float32 and finite.
        topk: how many of each level, or all if it has fewer.
    """
    images, targets = boxes.shape[:2]
    many = [min(topk, count) for count in counts]
    places = torch.empty(images, targets, sum(many), dtype=torch.int64)
    wanted, found = boxes.reshape(-1, 4).contiguous().numpy(), places.view(-1, sum(many)).numpy()
    starts = [sum(counts[:level]) for level in range(len(counts) + 1)]
    levels = [_in_rows(centers[begin:end].numpy(), begin) for begin, end in pairwise(starts)]

    def search(rows: slice) -> None:
        column = 0
        for level, count in zip(levels, many, strict=True):
            _search_level(*level, wanted[rows], found[rows], column, count)
            column += count

    share_rows(search, len(wanted), 1 + PAIRS_A_THREAD // max(1, len(centers)))
    return places


def _in_rows(centers: Any, first: int) -> tuple[Any, ...]:
    """Places sorted by y, then x, whatever the order they come in; their centres; where each row of one y begins."""
    order = np.lexsort((centers[:, 0], centers[:, 1]))  # what is not a number comes last
    x, y = centers[order, 0], centers[order, 1]
    starts = np.flatnonzero(np.append(True, y[1:] != y[:-1])) if len(y) else order
    return order + first, x, y[starts], np.append(starts, len(y))


@njit(nogil=True, cache=True)
def _search_level(places, x, y, starts, boxes, found, column, count):
    best = np.empty(count, np.int64)
    for t in range(len(boxes)):
        target_x = boxes[t, 0] / TWO + boxes[t, 2] / TWO
        target_y = boxes[t, 1] / TWO + boxes[t, 3] / TWO
        best[:] = NEVER
        middle = _first_from(y, 0, len(y), target_y)
        for row in range(middle, len(y)):
            if not _search_row(places, x, starts[row], starts[row + 1], target_x, y[row] - target_y, best):
                break
        for row in range(middle - 1, -1, -1):
            if not _search_row(places, x, starts[row], starts[row + 1], target_x, y[row] - target_y, best):
                break
        for n in range(count):
            found[t, column + n] = best[n] & np.int64(MAGNITUDE)


@njit(nogil=True, cache=True)
def _search_row(places, x, begin, end, target_x, down, best):
    """Enter what is near, from the middle outwards; whether a row still farther away may hold anything."""
    if _key(down * down, 0) > best[-1]:
        return False
    middle = _first_from(x, begin, end, target_x)
    for a in range(middle, end):
        if not _enter(best, x[a] - target_x, down, places[a]):
            break
    for a in range(middle - 1, begin - 1, -1):
        if not _enter(best, x[a] - target_x, down, places[a]):
            break
    return True


@njit(nogil=True, cache=True)
def _enter(best, across, down, place):
    """Insert into the sorted keys if it is among them; whether what is farther away, or as far, may be."""
    distance = across * across + down * down
    if _key(distance, 0) > best[-1]:
        return False
    key = _key(distance, place)
    if key < best[-1]:
        n = len(best) - 1
        while n > 0 and best[n - 1] > key:
            best[n] = best[n - 1]
            n -= 1
        best[n] = key
    return True


@njit(nogil=True, cache=True)
def _key(distance, place):
    bits = np.float32(distance).view(np.int32) & MAGNITUDE
    return np.int64(bits) << PLACE_BITS | np.int64(place)


@njit(nogil=True, cache=True)
def _first_from(values, begin, end, least):
    """By bisection, of values that rise."""
    while begin < end:
        middle = (begin + end) // 2
        if values[middle] < least:
            begin = middle + 1
        else:
            end = middle
    return begin

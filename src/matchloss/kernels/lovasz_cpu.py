"""The Lovász extension on the CPU, row by row, with its slopes: only pixels that weigh something are sorted.

When all of the foreground has gone wrong IoU is 0, and what goes wrong later weighs nothing: background whose error is
less than any of the foreground's is passed over. The others are sorted by the bits of their errors, which are ordered
as the errors are, from the lowest bits up: equal errors stay in the order of their pixels. The weights are those of
`losses/_lovasz.py`, to the last bit.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .threads_cpu import share_rows

ONE = np.float32(1)
NEVER, FIRST = np.int32(0x7FFFFFFF), np.int32(1)
"""Bits of an error: more than of any number, also without its sign; and of the least above 0."""
HALF, LAST, LOWER = np.uint64(32), np.uint64(1), np.uint64(0xFFFFFFFF)
DIGIT = 11
"""Bits that a pass of the sort looks at, at most: so many lists are filled at a time, whose ends must lie in cache."""
PIXELS_A_THREAD = 2**16
"""Fewer are done before a thread has started."""


def weigh_rows(values: Tensor, labels: Tensor, groups: int, *, probs: bool) -> tuple[Tensor, Tensor]:
    """``(G, C)`` losses, and their slopes in the values ``(N, C, P)``.

    The rows are shared by as many threads as torch uses; the kernel lets go of the interpreter meanwhile.

    Args:
        values: float32. Probabilities, whose error at a pixel of the class is one minus theirs; or errors ``>= 0``, of
            which one that is 0 has a slope of 0.
        labels: (N, P) int32, the class of each pixel; -1 where it does not count.
        groups: G, into how many images the N are put together, in their order.
        probs: which of the two the values are.
    """
    images, classes, pixels = values.shape
    losses, slopes = torch.zeros(groups, classes), torch.empty(values.shape)
    together = images // max(groups, 1)
    arrays = [tensor.numpy() for tensor in (values.detach().contiguous(), labels.contiguous(), losses, slopes)]

    def weigh(rows: slice) -> None:
        room = np.empty((2, together * pixels), np.uint64)
        _weigh_rows(*arrays, together, np.float32(probs), room, rows.start, rows.stop)

    share_rows(weigh, losses.numel(), max(1, PIXELS_A_THREAD // max(1, together * pixels)))
    return losses, slopes


@njit(nogil=True, cache=True)
def _weigh_rows(values, labels, losses, slopes, together, turn, room, begin, end):
    """``turn`` is 1 for probabilities: errors are the distance to it, or else to 0."""
    _, classes, pixels = values.shape
    for row in range(begin, end):
        first, c = row // classes * together, np.int32(row % classes)
        hits, least, most = 0, NEVER, np.int32(0)
        for n in range(first, first + together):
            found, low, high = _look(values[n, c], labels[n], c, turn)
            hits, least, most = hits + found, min(least, low), max(most, high)
        if hits == 0:
            least = most  # the first wrong pixel takes IoU to 0
        if turn == 0:
            least = max(least, FIRST)
        count = 0
        for n in range(first, first + together):
            offset = (n - first) * classes * pixels  # the images of a row are apart
            count = _collect(values[n, c], labels[n], c, turn, least, offset, room[0], count)
            slopes[n, c] = 0
        own = slopes.ravel()[(first * classes + c) * pixels :]
        losses[row // classes, c] = _weigh(_sort(room, count), hits, turn, own)


@njit(nogil=True, cache=True)
def _look(values, labels, c, turn):
    """How many pixels are of the class, the least error of these, and the largest of all, as bits."""
    hits, least, most = np.int32(0), NEVER, np.int32(0)
    for i in range(len(values)):
        is_hit = labels[i] == c
        bits = _bits(values[i], is_hit, turn)
        hits += np.int32(is_hit)
        least = min(least, bits if is_hit else NEVER)
        most = max(most, bits if labels[i] >= 0 else np.int32(0))
    return hits, least, most


@njit(nogil=True, cache=True)
def _bits(value, is_hit, turn):
    return np.float32(value - (turn if is_hit else np.float32(0))).view(np.int32) & NEVER


@njit(nogil=True, cache=True)
def _collect(values, labels, c, turn, least, offset, items, count):
    """Write error, place and whether of the class as one number, of the pixels that weigh something."""
    for i in range(len(values)):
        is_hit = labels[i] == c
        bits = _bits(values[i], is_hit, turn)
        items[count] = np.uint64(NEVER - bits) << HALF | np.uint64(offset + i) << LAST | np.uint64(is_hit)
        count += (labels[i] >= 0) & (bits >= least)
    return count


@njit(nogil=True, cache=True)
def _sort(room, count):
    """By the upper half of the numbers, in as few passes as their range allows."""
    items, other = room[0][:count], room[1][:count]
    differ = np.uint64(0)
    for i in range(count):
        differ |= items[i] ^ items[0]
    width = 0
    while width < 32 and differ >> (HALF + np.uint64(width)) > 0:
        width += 1
    passes = (width + DIGIT - 1) // DIGIT
    for number in range(passes):
        low, high = width * number // passes, width * (number + 1) // passes
        _sort_by_digit(items, other, HALF + np.uint64(low), high - low)
        items, other = other, items
    return items


@njit(nogil=True, cache=True)
def _sort_by_digit(items, other, shift, digits):
    mask = np.uint64((1 << digits) - 1)
    ends = np.zeros(1 << digits, np.int64)
    for i in range(len(items)):
        ends[(items[i] >> shift) & mask] += 1
    total = 0
    for digit in range(len(ends)):
        ends[digit], total = total, total + ends[digit]
    for i in range(len(items)):
        digit = (items[i] >> shift) & mask
        other[ends[digit]] = items[i]
        ends[digit] += 1


@njit(nogil=True, cache=True, error_model="numpy")
def _weigh(items, hits, turn, slopes):
    """Let pixel after pixel go wrong, the largest error first."""
    loss, missed = 0.0, np.int64(hits)
    for i in range(len(items)):
        is_hit = (items[i] & LAST) == LAST
        missed -= is_hit
        union = missed + i + 1
        share = np.float32(missed) / np.float32(max(union - 1, 1))
        weight = (ONE if is_hit or union == 1 else share) / np.float32(union)
        error = np.int32(NEVER - np.int32(items[i] >> HALF)).view(np.float32)
        slopes[(items[i] & LOWER) >> LAST] = -weight if is_hit and turn == 1 else weight
        loss += np.float64(error * weight)
    return loss

"""Binary cross entropy on the CPU and its gradient, each in one read of the logits: nothing of their size is kept.

Labels become targets for a few rows at a time, which never leave the cache. Sums run in float32 over one tile and in
float64 from tile to tile, in an order that no number of threads changes.
"""

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from .arrays_cpu import flat, flat_or_none
from .float_math_cpu import ZERO, add
from .sigmoid_parts_cpu import HIDDEN, cross_entropy, cross_entropy_slope
from .threads_cpu import share_rows

TILE = 1024
"""Elements that are in the first cache at a time."""
ELEMENTS_A_THREAD = 1 << 16


class Rows(NamedTuple):
    """What the kernels of labels read, as flat arrays."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    """One a row; below 0 for background."""
    scores: NDArray[np.float32]
    """Targets of the labels; empty for ones."""
    counted: NDArray[np.bool_]
    """Empty where all rows count."""


def element_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Losses of float32 logits with float32 targets of their shape."""
    losses = torch.empty_like(logits, memory_format=torch.contiguous_format)
    x, t, out = flat(logits), flat(targets), flat(losses)
    share_rows(lambda part: _write_losses(x[part], t[part], out[part]), len(x), ELEMENTS_A_THREAD)
    return losses


def element_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Their sum."""
    x, t = flat(logits), flat(targets)
    sums = np.empty(-(-len(x) // TILE))
    share_rows(lambda part: _add_losses(x, t, part.start, sums[part]), len(sums), 1 + ELEMENTS_A_THREAD // TILE)
    return torch.tensor(sums.sum(), dtype=torch.float32)


def element_slopes(logits: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
    """Gradient in the logits from that of each loss, or from that of their sum."""
    slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
    is_shared = not any(grad.stride())  # of a sum, one number for all
    pulls = flat(grad.flatten()[:1] if is_shared else grad)
    x, t, out = flat(logits), flat(targets), flat(slopes)

    def work(part: slice) -> None:
        _write_slopes(x[part], t[part], pulls if is_shared else pulls[part], out[part])

    share_rows(work, len(x), ELEMENTS_A_THREAD)
    return slopes


def label_sum(logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None) -> Tensor:
    """Sum over all rows that count and all classes of float32 ``(R, C)`` logits."""
    read, classes = _rows(logits, labels, scores, valid), logits.shape[1]
    rows = _rows_a_tile(classes)
    sums = np.empty(-(-len(labels) // rows))

    def work(part: slice) -> None:
        _add_rows(read, classes, rows, part.start, sums[part])

    share_rows(work, len(sums), 1 + ELEMENTS_A_THREAD // max(rows * classes, 1))
    return torch.tensor(sums.sum(), dtype=torch.float32)


def label_slopes(logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None, factor: float) -> Tensor:
    """Its gradient in the logits, times a factor."""
    slopes = torch.empty_like(logits, memory_format=torch.contiguous_format)
    read, out, classes = _rows(logits, labels, scores, valid), flat(slopes), logits.shape[1]
    rows, pull = _rows_a_tile(classes), np.full(1, factor, np.float32)

    def work(part: slice) -> None:
        _write_rows(read, classes, rows, part.start, part.stop, pull, out)

    share_rows(work, -(-len(labels) // rows), 1 + ELEMENTS_A_THREAD // max(rows * classes, 1))
    return slopes


def _rows_a_tile(classes: int) -> int:
    return max(1, TILE // max(classes, 1))


def _rows(logits: Tensor, labels: Tensor, scores: Tensor | None, valid: Tensor | None) -> Rows:
    of_labels = np.empty(0, np.float32) if scores is None else flat(scores.float())
    return Rows(flat(logits), flat(labels.long()), of_labels, flat_or_none(valid))


@njit(nogil=True, cache=True, error_model="numpy")
def _add_rows(read, classes, rows, first, sums):
    x, t = np.empty(rows * classes, np.float32), np.zeros(rows * classes, np.float32)
    for unit in range(len(sums)):
        begin, end = (first + unit) * rows, min(len(read.labels), (first + unit + 1) * rows)
        size = (end - begin) * classes
        _set_targets(t, read, begin, end, classes)
        if read.counted[begin:end].all():
            sums[unit] = _sum(read.logits[begin * classes : end * classes], t[:size])
        else:
            _hide_rows(read, begin, end, classes, x)
            sums[unit] = _sum(x[:size], t[:size])
        _clear_targets(t, read, begin, end, classes)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_rows(read, classes, rows, first, last, pull, slopes):
    t = np.zeros(rows * classes, np.float32)
    for unit in range(first, last):
        begin, end = unit * rows, min(len(read.labels), (unit + 1) * rows)
        out = slopes[begin * classes : end * classes]
        _set_targets(t, read, begin, end, classes)
        _write_slopes(read.logits[begin * classes : end * classes], t[: len(out)], pull, out)
        _clear_targets(t, read, begin, end, classes)
        for row in range(begin, end):
            if len(read.counted) > 0 and not read.counted[row]:
                slopes[row * classes : (row + 1) * classes] = ZERO


@njit(nogil=True, cache=True)
def _set_targets(t, read, begin, end, classes):
    for row in range(begin, end):
        if read.labels[row] >= 0 and (len(read.counted) == 0 or read.counted[row]):
            one = np.float32(1) if len(read.scores) == 0 else read.scores[row]
            t[(row - begin) * classes + read.labels[row]] = one


@njit(nogil=True, cache=True)
def _clear_targets(t, read, begin, end, classes):
    for row in range(begin, end):
        if read.labels[row] >= 0 and (len(read.counted) == 0 or read.counted[row]):
            t[(row - begin) * classes + read.labels[row]] = ZERO


@njit(nogil=True, cache=True)
def _hide_rows(read, begin, end, classes, x):
    for row in range(begin, end):
        line = x[(row - begin) * classes : (row - begin + 1) * classes]
        if read.counted[row]:
            line[:] = read.logits[row * classes : (row + 1) * classes]
        else:
            line[:] = HIDDEN


@njit(nogil=True, cache=True, error_model="numpy")
def _add_losses(x, t, first, sums):
    for tile in range(len(sums)):
        begin, end = (first + tile) * TILE, min(len(x), (first + tile + 1) * TILE)
        sums[tile] = _sum(x[begin:end], t[begin:end])


@njit(nogil=True, cache=True, error_model="numpy")
def _sum(x, t):
    """In float32 over few of them, which goes twice as fast."""
    total = 0.0
    for begin in range(0, len(x), TILE):
        few, part = x[begin : begin + TILE], ZERO
        of_few = t[begin : begin + TILE]
        for i in range(len(few)):
            part = add(part, cross_entropy(few[i], of_few[i]))
        total += np.float64(part)
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _write_losses(x, t, losses):
    for i in range(len(x)):
        losses[i] = cross_entropy(x[i], t[i])


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_slopes(x, t, pulls, slopes):
    if len(pulls) == 1:
        pull = pulls[0]
        for i in range(len(x)):
            slopes[i] = pull * cross_entropy_slope(x[i], t[i])
    else:
        for i in range(len(x)):
            slopes[i] = pulls[i] * cross_entropy_slope(x[i], t[i])

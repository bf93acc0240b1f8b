"""Region sums of binary maps on the CPU, with the cross entropy of each element where it is wanted; and their gradient.

Each way reads the logits once. No probability is ever written to memory: the way back makes them again from the
logits, which costs less than to read them. No branch looks at an element in the loops, so that a compiler does several
at once: targets become floats, and what does not count becomes a logit without any probability, in the first cache.

Sums run in float32 over one tile and in float64 from tile to tile, in an order that no number of threads changes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from .arrays_cpu import flat, flat_or_none
from .float_math_cpu import ONE, TWO, ZERO, add
from .sigmoid_parts_cpu import HIDDEN, cross_entropy, cross_entropy_slope, probabilities
from .threads_cpu import share_rows

TILE = 1024
"""Elements that are in the first cache at a time."""
BLOCK = 16 * TILE
"""Elements whose sums are kept apart."""
ELEMENTS_A_THREAD = 1 << 16


class Maps(NamedTuple):
    """What a kernel reads, as flat arrays; a row is one class of one image."""

    logits: NDArray[np.float32]
    targets: NDArray[Any]
    """Float32 or bool; empty where there are labels."""
    labels: NDArray[np.int64]
    """Of each image, which its classes share; empty where there are targets."""
    counted: NDArray[np.bool_]
    """Empty where all elements count, and so are its parts."""
    shape: tuple[int, int, int]
    """Images, classes, elements of a row."""


def read_statistics(
    logits: Tensor, targets: Tensor, valid: Tensor | None, squared: bool, with_losses: bool
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Cross entropy of each element, 0 where not valid, and the region sums of each class of each image.

    Args:
        logits: (N, C, P) float32.
        targets: (N, C, P) bools, integers or floats; or (N, P) integer labels, which no class need have.
        valid: (N, C, P) bool, or None where all are.
        squared: whether the predicted and the actual mass are sums of squares.
        with_losses: whether the cross entropy is wanted; without it, that has no class.

    Returns:
        (N, C, P) cross entropy, and the sums, each (N, C): overlap, predicted, actual, area.
    """
    images, classes, pixels = logits.shape
    losses = torch.empty(images, classes if with_losses else 0, pixels)
    blocks = -(-pixels // BLOCK)
    sums = np.zeros((images * classes, blocks, 4))
    read, out = _maps(logits, targets, valid), losses.view(-1).numpy()
    _share_blocks(lambda part: _read_blocks(read, part.start, part.stop, squared, out, sums), logits, blocks)
    overlap, predicted, actual, area = sums.sum(1).T.reshape(4, images, classes).astype(np.float32)
    return losses, tuple(torch.from_numpy(one) for one in (overlap, predicted, actual, area))  # type: ignore[return-value]


def write_gradient(
    grad_losses: Tensor | None,
    grad_overlap: Tensor,
    grad_predicted: Tensor,
    logits: Tensor,
    targets: Tensor,
    valid: Tensor | None,
    squared: bool,
) -> Tensor:
    """Gradient in the logits, of the cross entropy, if anybody asked for it, the overlap and the predicted mass."""
    grad = torch.empty_like(logits, memory_format=torch.contiguous_format)
    pulls = np.empty(0, np.float32)
    if grad_losses is not None:
        is_shared = not any(grad_losses.stride())  # behind a sum: one number for all elements
        pulls = flat(grad_losses[:1, :1, :1] if is_shared else grad_losses)
    read, out, of_sums = _maps(logits, targets, valid), flat(grad), (flat(grad_overlap), flat(grad_predicted))

    def work(part: slice) -> None:
        _write_blocks(read, part.start, part.stop, squared, pulls, of_sums, out)

    _share_blocks(work, logits, -(-logits.shape[2] // BLOCK))
    return grad


def _share_blocks(work: Callable[[slice], None], logits: Tensor, blocks: int) -> None:
    units = logits.shape[0] * logits.shape[1] * blocks
    share_rows(work, units, 1 + ELEMENTS_A_THREAD * units // max(logits.numel(), 1))


def _maps(logits: Tensor, targets: Tensor, valid: Tensor | None) -> Maps:
    maps, labels = np.empty(0, np.float32), np.empty(0, np.int64)
    if targets.ndim == 3:
        maps = flat(targets if targets.dtype == torch.bool else targets.float())
    else:
        labels = flat(targets.long())
    counted = flat_or_none(valid)
    images, classes, pixels = logits.shape
    return Maps(flat(logits), maps, labels, counted, (images, classes, pixels))


@njit(nogil=True, cache=True, error_model="numpy")
def _read_blocks(read, first, last, squared, losses, sums):
    room, pixels, blocks = np.empty((3, TILE), np.float32), read.shape[2], sums.shape[1]
    for unit in range(first, last):
        row, block = unit // blocks, unit % blocks
        end = min(pixels, (block + 1) * BLOCK)
        for begin in range(block * BLOCK, end, TILE):
            count, at = min(TILE, end - begin), row * pixels + begin
            x, counted, out = read.logits[at : at + count], read.counted[at : at + count], losses[at : at + count]
            if len(read.labels) == 0 and len(counted) == 0:  # as they lie: a copy of each line would break its stream
                _read_tile(x, read.targets[at : at + count], squared, out, sums[row, block])
            else:
                _read_tile(*_load(read, row, begin, count, room), squared, out, sums[row, block])
            sums[row, block, 3] += count if len(counted) == 0 else _count(counted)


@njit(nogil=True, cache=True, error_model="numpy")
def _write_blocks(read, first, last, squared, pulls, of_sums, grad):
    room, slopes = np.empty((3, TILE), np.float32), np.empty(TILE, np.float32)
    shared = np.full(TILE, pulls[0] if len(pulls) == 1 else ZERO)
    pixels = read.shape[2]
    blocks = -(-pixels // BLOCK)
    for unit in range(first, last):
        row, block = unit // blocks, unit % blocks
        factors, end = (of_sums[0][row], of_sums[1][row]), min(pixels, (block + 1) * BLOCK)
        for begin in range(block * BLOCK, end, TILE):
            count, at = min(TILE, end - begin), row * pixels + begin
            x, counted, out = read.logits[at : at + count], read.counted[at : at + count], grad[at : at + count]
            some = shared[:count] if len(pulls) == 1 else pulls[at : at + count]
            if len(read.labels) == 0 and len(counted) == 0:
                _write_tile(x, read.targets[at : at + count], squared, some, factors, out)
            elif len(counted) == 0:
                _write_tile(*_load(read, row, begin, count, room), squared, some, factors, out)
            else:
                _write_tile(*_load(read, row, begin, count, room), squared, some, factors, slopes[:count])
                _hide(slopes, counted, ZERO, out)  # a factor of NaN is one for what counts only


@njit(nogil=True, cache=True)
def _load(read, row, begin, count, room):
    """Logits and targets of a tile, in ``room`` where they are not as they lie."""
    at = row * read.shape[2] + begin
    x, t, counted = read.logits[at : at + count], room[0, :count], read.counted[at : at + count]
    if len(read.labels) > 0:
        of_image = row // read.shape[1] * read.shape[2] + begin
        _set_one_hot(read.labels[of_image : of_image + count], row % read.shape[1], t)
    else:
        _set_floats(read.targets[at : at + count], t)
    if len(counted) == 0:
        return x, t
    _hide(x, counted, HIDDEN, room[1])
    _hide(t, counted, ZERO, room[2])
    return room[1, :count], room[2, :count]


@njit(nogil=True, cache=True)
def _set_one_hot(labels, label, t):
    for i in range(len(t)):
        t[i] = ONE if labels[i] == label else ZERO


@njit(nogil=True, cache=True)
def _set_floats(targets, t):
    for i in range(len(t)):
        t[i] = targets[i]


@njit(nogil=True, cache=True)
def _hide(values, counted, hidden, out):
    """Into another array: in its own it would become a branch, and one element at a time."""
    for i in range(len(counted)):
        value = values[i]
        out[i] = value if counted[i] else hidden


@njit(nogil=True, cache=True)
def _count(counted):
    total = 0
    for i in range(len(counted)):
        total += np.int64(counted[i])
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _read_tile(x, t, squared, losses, sums):
    overlap, predicted, actual = ZERO, ZERO, ZERO
    for i in range(len(x)):
        p, target = probabilities(x[i])[0], np.float32(t[i])
        overlap = add(overlap, p * target)
        predicted = add(predicted, p * p if squared else p)
        actual = add(actual, target * target if squared else target)
    sums[0] += np.float64(overlap)
    sums[1] += np.float64(predicted)
    sums[2] += np.float64(actual)
    for i in range(len(losses)):
        losses[i] = cross_entropy(x[i], np.float32(t[i]))


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _write_tile(x, t, squared, pulls, factors, slopes):
    of_overlap, of_predicted = factors
    for i in range(len(x)):
        p, q = probabilities(x[i])
        slopes[i] = p * q * (of_overlap * np.float32(t[i]) + of_predicted * (TWO * p if squared else ONE))
    for i in range(len(pulls)):
        slopes[i] += pulls[i] * cross_entropy_slope(x[i], np.float32(t[i]))

"""Softmax of class logits on the CPU, with all that losses want of it; and its gradient. Each reads the logits once.

No probability is ever written to memory: the way back makes them again from the logits, which costs less than to read
them. No branch looks at a pixel in the loops over all classes, so that a compiler does several pixels at once.

Sums run in float32 over one tile and in float64 from tile to tile, in an order that no number of threads changes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from .float_math_cpu import ONE, ZERO, add, exp_of_negative, log_of_normal
from .softmax_tile_cpu import exponentiate, load_tile, tile_width
from .threads_cpu import share_rows

BLOCK = 8192
"""Pixels whose sums are kept apart."""
ELEMENTS_A_THREAD = 1 << 16


class Pixels(NamedTuple):
    """What a kernel reads, as flat arrays."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    counted: NDArray[np.bool_]
    """Empty where all pixels count, and so are its parts."""
    shape: tuple[int, int, int]
    """Images, classes, pixels an image."""


def read_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None, with_sums: bool) -> tuple[Tensor, Tensor]:
    """Of float32 logits ``(N, C, P)`` the ``(N, P)`` log probability of the labels, 0 where not valid.

    And ``(N, 3, C)`` sums by class: of the labels' own probability, of all probabilities, and of ones at the labels;
    of no class where nobody wants them.
    """
    images, classes, pixels = logits.shape
    log_prob = torch.empty(images, pixels)
    blocks = -(-pixels // BLOCK)
    sums = np.zeros((images, blocks, 3, classes if with_sums else 0))
    read, out = _pixels(logits, labels, valid), log_prob.numpy()

    def work(part: slice) -> None:
        _read_blocks(read, part.start, part.stop, out, sums)

    _share_blocks(work, logits, images * blocks)
    return log_prob, torch.from_numpy(sums.sum(1)).float()


def write_gradient(
    grad_log_prob: Tensor, grad_sums: Tensor, logits: Tensor, labels: Tensor, valid: Tensor | None
) -> Tensor:
    """Gradient in the logits, of those two results."""
    images, _, pixels = logits.shape
    grad = torch.empty_like(logits, memory_format=torch.contiguous_format)
    blocks = -(-pixels // BLOCK)
    read, out = _pixels(logits, labels, valid), grad.view(-1).numpy()
    step = 1 if any(grad_log_prob.stride()) else 0  # of a sum, one number for all pixels
    of_log_prob = (grad_log_prob if step else grad_log_prob[:1, :1]).contiguous().view(-1).numpy()
    of_sums = grad_sums.contiguous().numpy()

    def work(part: slice) -> None:
        _write_blocks(read, part.start, part.stop, of_log_prob, step, of_sums, out)

    _share_blocks(work, logits, images * blocks)
    return grad


def _share_blocks(work: Callable[[slice], None], logits: Tensor, blocks: int) -> None:
    share_rows(work, blocks, 1 + ELEMENTS_A_THREAD * blocks // max(logits.numel(), 1))


def _pixels(logits: Tensor, labels: Tensor, valid: Tensor | None) -> Pixels:
    counted = np.empty(0, np.bool_) if valid is None else valid.contiguous().view(-1).numpy()
    images, classes, pixels = logits.shape
    flat = logits.detach().contiguous().view(-1).numpy()
    return Pixels(flat, labels.long().contiguous().view(-1).numpy(), counted, (images, classes, pixels))


@njit(nogil=True, cache=True, error_model="numpy")
def _read_blocks(read, first, last, log_prob, sums):
    classes, pixels = read.shape[1], read.shape[2]
    width = tile_width(classes)
    room, lines = np.empty(classes * width, np.float32), np.empty((3, width), np.float32)
    blocks = sums.shape[1]
    for unit in range(first, last):
        image, block = unit // blocks, unit % blocks
        end = min(pixels, (block + 1) * BLOCK)
        for begin in range(block * BLOCK, end, width):
            count, at = min(width, end - begin), image * pixels + begin
            highest, total, own = lines[0, :count], lines[1, :count], lines[2, :count]
            tile, place = room[: classes * count], (image * classes * pixels + begin, pixels)
            load_tile(read.logits, place, tile, highest)
            labels, counted = read.labels[at : at + count], read.counted[at : at + count]
            _pick(tile, labels, counted, own)
            exponentiate(tile, highest, total)
            _log_probs(own, highest, total, counted, log_prob[image, begin : begin + count])
            if sums.shape[3] > 0:
                _add_labels(own, labels, counted, sums[image, block])
                _add_classes(tile, total, sums[image, block, 1])


@njit(nogil=True, cache=True, error_model="numpy")
def _write_blocks(read, first, last, of_log_prob, step, of_sums, grad):
    classes, pixels = read.shape[1], read.shape[2]
    width, blocks = tile_width(classes), -(-pixels // BLOCK)
    room, lines = np.empty(classes * width, np.float32), np.empty((3, width), np.float32)
    for unit in range(first, last):
        image, block = unit // blocks, unit % blocks
        end = min(pixels, (block + 1) * BLOCK)
        for begin in range(block * BLOCK, end, width):
            count, at = min(width, end - begin), image * pixels + begin
            highest, total, common = lines[0, :count], lines[1, :count], lines[2, :count]
            tile, place = room[: classes * count], (image * classes * pixels + begin, pixels)
            load_tile(read.logits, place, tile, highest)
            exponentiate(tile, highest, total)
            _share(tile, of_sums[image, 1], total, common)
            labels, counted = read.labels[at : at + count], read.counted[at : at + count]
            pulls = highest  # not needed any more
            for i in range(count):
                pulls[i] = of_log_prob[(at + i) * step]
            _pull_labels(tile, labels, counted, of_sums[image, 0], total, pulls, common)
            _write_tile(tile, (total, common, pulls), labels, counted, of_sums[image, 1], place, grad)


@njit(nogil=True, cache=True)
def _pick(tile, labels, counted, own):
    count = len(own)
    for i in range(count):
        own[i] = tile[labels[i] * count + i] if len(counted) == 0 or counted[i] else ZERO


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _log_probs(own, highest, total, counted, log_prob):
    """Of the labels' own logits, which become probabilities; sums of exponentials are turned around, into factors."""
    for i in range(len(own)):
        logarithm = (own[i] - highest[i]) - log_of_normal(total[i])
        log_prob[i] = logarithm
        own[i] = exp_of_negative(logarithm)
        total[i] = ONE / total[i]
    for i in range(len(counted)):
        if not counted[i]:
            log_prob[i], total[i] = ZERO, ZERO


@njit(nogil=True, cache=True)
def _add_labels(own, labels, counted, sums):
    for i in range(len(labels)):
        if len(counted) == 0 or counted[i]:
            sums[0, labels[i]] += own[i]
            sums[2, labels[i]] += 1.0


@njit(nogil=True, cache=True)
def _add_classes(tile, factors, sums):
    count = len(factors)
    for k in range(len(sums)):
        sums[k] += _dot(tile[k * count : (k + 1) * count], factors)


@njit(nogil=True, cache=True)
def _dot(line, factors):
    total = ZERO
    for i in range(len(line)):
        total = add(total, ZERO if factors[i] == ZERO else line[i] * factors[i])  # 0 * NaN is NaN
    return np.float64(total)


@njit(nogil=True, cache=True, error_model="numpy")
def _share(tile, of_classes, total, common):
    """``Σ_j B_j p_j``, and the sums of exponentials turned around."""
    count = len(total)
    common[:] = ZERO
    for k in range(len(of_classes)):
        _add_line(tile[k * count : (k + 1) * count], of_classes[k], common)
    for i in range(count):
        total[i] = ONE / total[i]
        common[i] *= total[i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_line(line, factor, common):
    for i in range(len(line)):
        common[i] += factor * line[i]


@njit(nogil=True, cache=True)
def _pull_labels(tile, labels, counted, of_labels, factors, pulls, common):
    count = len(labels)
    for i in range(count):
        if len(counted) == 0 or counted[i]:
            pulls[i] += of_labels[labels[i]] * (tile[labels[i] * count + i] * factors[i])
            common[i] += pulls[i]


@njit(nogil=True, cache=True)
def _write_tile(tile, lines, labels, counted, of_classes, place, grad):
    factors, common, pulls = lines
    start, step = place
    count = len(labels)
    for k in range(len(of_classes)):
        at = start + k * step
        _write(tile[k * count : (k + 1) * count], factors, common, of_classes[k], counted, grad[at : at + count])
    for i in range(count):
        if len(counted) == 0 or counted[i]:
            grad[start + labels[i] * step + i] += pulls[i]


@njit(nogil=True, cache=True)
def _write(line, factors, common, of_class, counted, grad):
    for i in range(len(line)):
        grad[i] = line[i] * factors[i] * (of_class - common[i])
    for i in range(len(counted)):
        grad[i] = grad[i] if counted[i] else ZERO

"""Softmax of class logits on the CPU, with all that losses want of it; and its gradient. Each reads the logits once.

No probability is ever written to memory: the way back makes them again from the logits, which costs less than to read
them. Kept are two numbers a pixel, the highest logit and one over the sum of exponentials. No branch looks at a pixel
in the loops over all classes, so that a compiler does several pixels at once.

Sums run in float32 over one tile and in float64 from tile to tile, in an order that no number of threads changes.
"""

from collections.abc import Callable

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .float_math_cpu import ONE, ZERO, add, exp_of_negative, log_of_normal
from .softmax_pixels_cpu import as_lines, one_or_all
from .softmax_tile_cpu import clear, copy_pulls, exponentiate, load_tile, pick, tile_width
from .threads_cpu import share_rows

BLOCK = 8192
"""Pixels whose sums are kept apart."""
ELEMENTS_A_THREAD = 1 << 16


def read_statistics(logits: Tensor, labels: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Of float32 logits ``(N, C, P)`` the ``(N, P)`` log probability of the labels, 0 where not valid.

    And ``(N, 3, C)`` sums by class: of the labels' own probability, of all probabilities, and of ones at the labels;
    and ``(2, N, P)`` what the gradient asks for.
    """
    images, classes, pixels = logits.shape
    log_prob, kept = torch.empty(images, pixels), torch.empty(2, images, pixels)
    blocks = -(-pixels // BLOCK)
    sums = np.zeros((images, blocks, 3, classes))
    read, out = as_lines(logits, labels, valid), (log_prob.view(-1).numpy(), sums, kept.view(2, -1).numpy())

    def work(part: slice) -> None:
        _read_blocks(read, part.start, part.stop, out)

    _share_blocks(work, logits, images * blocks)
    return log_prob, torch.from_numpy(sums.sum(1)).float(), kept


def write_gradient(
    grad_log_prob: Tensor, grad_sums: Tensor, logits: Tensor, labels: Tensor, valid: Tensor | None, kept: Tensor
) -> Tensor:
    """Gradient in the logits, of the first two results."""
    images, _, pixels = logits.shape
    grad = torch.empty_like(logits, memory_format=torch.contiguous_format)
    blocks = -(-pixels // BLOCK)
    read, out, normal = as_lines(logits, labels, valid), grad.view(-1).numpy(), kept.view(2, -1).numpy()
    of_results = one_or_all(grad_log_prob), grad_sums.contiguous().numpy()

    def work(part: slice) -> None:
        _write_blocks(read, part.start, part.stop, of_results, normal, out)

    _share_blocks(work, logits, images * blocks)
    return grad


def _share_blocks(work: Callable[[slice], None], logits: Tensor, blocks: int) -> None:
    share_rows(work, blocks, 1 + ELEMENTS_A_THREAD * blocks // max(logits.numel(), 1))


@njit(nogil=True, cache=True, error_model="numpy")
def _read_blocks(read, first, last, out):
    log_prob, sums, kept = out
    classes, pixels, blocks = read.shape[1], read.shape[2], sums.shape[1]
    width = tile_width(classes)
    room, lines = np.empty(classes * width, np.float32), np.empty((2, width), np.float32)
    for unit in range(first, last):
        image, block = unit // blocks, unit % blocks
        end = min(pixels, (block + 1) * BLOCK)
        for begin in range(block * BLOCK, end, width):
            count, at = min(width, end - begin), image * pixels + begin
            highest, total = kept[0, at : at + count], kept[1, at : at + count]
            own, factors = lines[0, :count], lines[1, :count]
            tile, place = room[: classes * count], (image * classes * pixels + begin, pixels)
            load_tile(read.logits, place, tile, highest)
            labels, counted = read.labels[at : at + count], read.counted[at : at + count]
            pick(tile, labels, counted, own)
            exponentiate(tile, highest, total)
            _log_probs(own, highest, total, log_prob[at : at + count])
            factors[:] = total
            clear(log_prob[at : at + count], counted)
            clear(factors, counted)
            _add_labels(own, labels, counted, sums[image, block])
            _add_classes(tile, factors, sums[image, block, 1])


@njit(nogil=True, cache=True, error_model="numpy")
def _write_blocks(read, first, last, of_results, kept, grad):
    of_log_prob, of_sums = of_results
    classes, pixels = read.shape[1], read.shape[2]
    width, blocks = tile_width(classes), -(-pixels // BLOCK)
    room, lines = np.empty(classes * width, np.float32), np.empty((2, width), np.float32)
    marks = np.empty(width, np.int32)
    for unit in range(first, last):
        image, block = unit // blocks, unit % blocks
        end = min(pixels, (block + 1) * BLOCK)
        for begin in range(block * BLOCK, end, width):
            count, at = min(width, end - begin), image * pixels + begin
            highest, factors = kept[0, at : at + count], kept[1, at : at + count]
            common, pulls, own = lines[0, :count], lines[1, :count], marks[:count]
            tile, place = room[: classes * count], (image * classes * pixels + begin, pixels)
            labels, counted = read.labels[at : at + count], read.counted[at : at + count]
            own[:] = labels
            copy_pulls(of_log_prob, at, counted, pulls)
            _share(read.logits, place, tile, highest, of_sums[image, 1], common)
            _scale(common, factors)
            _pull_labels(tile, labels, counted, of_sums[image, 0], factors, pulls, common)
            for k in range(classes):
                start, line = place[0] + k * pixels, tile[k * count : (k + 1) * count]
                out = grad[start : start + count]
                _write(line, factors, common, of_sums[image, 1, k], (own, np.int32(k), pulls), out)
                clear(out, counted)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _log_probs(own, highest, total, log_prob):
    """Of the labels' own logits, which become probabilities; sums of exponentials are turned around, into factors."""
    for i in range(len(own)):
        logarithm = (own[i] - highest[i]) - log_of_normal(total[i])
        log_prob[i] = logarithm
        own[i] = exp_of_negative(logarithm)
        total[i] = ONE / total[i]


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
def _share(logits, place, tile, highest, of_classes, common):
    """The exponentials once more, and their sum in which each class counts as much as its gradient."""
    start, step = place
    count = len(highest)
    common[:] = ZERO
    for k in range(len(of_classes)):
        line = logits[start + k * step : start + k * step + count]
        _exponentiate(line, highest, of_classes[k], tile[k * count : (k + 1) * count], common)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _exponentiate(logits, highest, factor, line, common):
    for i in range(len(line)):
        exponential = exp_of_negative(logits[i] - highest[i])
        line[i] = exponential
        common[i] += factor * exponential


@njit(nogil=True, cache=True)
def _scale(common, factors):
    for i in range(len(common)):
        common[i] *= factors[i]


@njit(nogil=True, cache=True)
def _pull_labels(tile, labels, counted, of_labels, factors, pulls, common):
    count = len(labels)
    for i in range(count):
        if len(counted) == 0 or counted[i]:
            pulls[i] += of_labels[labels[i]] * (tile[labels[i] * count + i] * factors[i])
            common[i] += pulls[i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _write(line, factors, common, of_class, own, grad):
    labels, label, pulls = own
    for i in range(len(grad)):
        pull = pulls[i] if labels[i] == label else ZERO
        grad[i] = pull + line[i] * factors[i] * (of_class - common[i])

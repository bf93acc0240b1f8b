"""Target maps of differentiable binarisation on the CPU: each word is drawn in the window that it reaches.

The arithmetic is that of the plain form, operation by operation, in float32; only roots may round differently.
"""

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .row_spans_cpu import cells_before, row_spans

ZERO, ONE = np.float32(0), np.float32(1)


def draw_maps(
    *, quads: Tensor, margin: Tensor, valid: Tensor, learnable: Tensor, size: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Score, its mask, 1 - d / D and its mask, ``(B, h, w)``, of words ``(B, M, 4, 2)`` with margins ``(B, M)``."""
    shape = (len(quads), *size)
    score, border = torch.zeros(shape), torch.zeros(shape)
    mask, near = torch.ones(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    reads = [part.contiguous().numpy() for part in (quads, margin, valid, learnable)]
    _draw(*reads, np.float32(stride), *(part.numpy() for part in (score, mask, border, near)))
    return score, mask, border, near


@njit(nogil=True, cache=True)
def _draw(quads, margin, valid, learnable, stride, score, mask, border, near):
    batch, count = valid.shape
    seen = np.zeros(count, dtype=np.bool_)
    for b in range(batch):
        for r in range(count):
            seen[r] = learnable[b, r] and _draw_word(quads, b, r, margin[b, r], stride, score[b], border[b], near[b])
        for r in range(count):
            if valid[b, r] and not seen[r]:
                _hide(quads, b, r, stride, score[b], mask[b])


@njit(nogil=True, cache=True, error_model="numpy")
def _draw_word(quads, b, r, margin, stride, score, border, near):
    """One word; whether it is text anywhere."""
    height, width = score.shape
    first, end = _window(quads, b, r, 1, margin, height, stride)
    begin, stop = _window(quads, b, r, 0, margin, width, stride)
    unit, seen = ONE if margin == ZERO else margin, False
    for i in range(first, end):
        one, two, three, four = row_spans(quads, b, r, i, width, stride)
        y = np.float32(i) * stride
        for j in range(begin, stop):
            inside = one <= j < two or three <= j < four
            square = _squared_distance(quads, b, r, np.float32(j) * stride, y)
            if inside and square >= margin * margin:
                score[i, j], seen = ONE, True
            if inside or square <= margin * margin:
                near[i, j] = True
                border[i, j] = max(border[i, j], ONE - np.float32(math.sqrt(square)) / unit)
    return seen


@njit(nogil=True, cache=True)
def _window(quads, b, r, axis, margin, cells, stride):
    """First cell of an axis that the grown word may reach, and the one after the last."""
    low = min(min(quads[b, r, 0, axis], quads[b, r, 1, axis]), min(quads[b, r, 2, axis], quads[b, r, 3, axis]))
    high = max(max(quads[b, r, 0, axis], quads[b, r, 1, axis]), max(quads[b, r, 2, axis], quads[b, r, 3, axis]))
    # A cell more at each end: the sum rounds, and the distance decides.
    first = cells_before(low - margin, cells, stride) - 1
    return max(first, 0), min(cells_before(high + margin, cells, stride) + 1, cells)


@njit(nogil=True, cache=True, error_model="numpy")
def _squared_distance(quads, b, r, x, y):
    nearest = np.float32(np.inf)
    for k in range(4):
        start_x, start_y = quads[b, r, k, 0], quads[b, r, k, 1]
        edge_x, edge_y = quads[b, r, (k + 1) % 4, 0] - start_x, quads[b, r, (k + 1) % 4, 1] - start_y
        right, down = x - start_x, y - start_y
        square = edge_x * edge_x + edge_y * edge_y
        along = (right * edge_x + down * edge_y) / (ONE if square == ZERO else square)
        along = min(max(along, ZERO), ONE)
        right, down = right - along * edge_x, down - along * edge_y
        nearest = min(nearest, right * right + down * down)
    return nearest


@njit(nogil=True, cache=True)
def _hide(quads, b, r, stride, score, mask):
    """Take the cells of a whole word out of the mask, but not those that are text."""
    height, width = mask.shape
    for i in range(height):
        one, two, three, four = row_spans(quads, b, r, i, width, stride)
        for begin, stop in ((one, two), (three, four)):
            for j in range(begin, stop):
                if score[i, j] == ZERO:
                    mask[i, j] = False

"""Target maps of EAST on the CPU: words are drawn row by row, the smallest first, where no other word is yet.

Which cells a word has is decided as in the plain form, operation by operation, in float32. Distances round differently.
"""

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..types import EASTMaps
from .row_spans_cpu import row_spans, row_window

ONE = np.float32(1)


class Drawn(NamedTuple):
    """Words ``(B, M, ...)``, the smallest first, as arrays."""

    inner: np.ndarray
    quads: np.ndarray
    frames: np.ndarray
    """Corners ``(B, M, 8)``, or the parts of a box, ``(B, M, 7)``: centre, half sides, cosine, sine, map's angle."""
    number: np.ndarray
    valid: np.ndarray
    learnable: np.ndarray
    spare: np.ndarray
    shortest_edge: np.ndarray


def draw_maps(
    *,
    inner: Tensor,
    quads: Tensor,
    frames: Tensor,
    number: Tensor,
    valid: Tensor,
    learnable: Tensor,
    spare: Tensor,
    shortest_edge: Tensor,
    size: tuple[int, int],
    stride: int,
    channels: tuple[int, ...],
) -> EASTMaps:
    """Maps of so many cells; ``frames`` are boxes ``(B, M, 5)`` or corners ``(B, M, 8)``.

    Args:
        inner: (B, M, 4, 2), the part of each word that is text; the others as in the encoder.
        quads: (B, M, 4, 2).
        frames: what the geometry is seen from.
        number: (B, M), what stands in the map of words.
        valid: (B, M), which words are there.
        learnable: (B, M), which of them may be text.
        spare: (B, M), a cell for a word without one, or -1.
        shortest_edge: (B, M).
        size: cells down and across.
        stride: pixels a cell.
        channels: where top, right, bottom and left go.
    """
    is_rbox = frames.shape[-1] == 5
    if is_rbox:
        angle = frames[..., 4:]
        frames = torch.cat([frames[..., :2], frames[..., 2:4] / 2, angle.cos(), angle.sin(), -angle], -1)
    words = (inner, quads, frames, number, valid, learnable, spare, shortest_edge)
    batch = len(quads)
    maps = EASTMaps(
        score=torch.zeros(batch, 1, *size),
        geometry=torch.zeros(batch, 5 if is_rbox else 8, *size),
        mask=torch.ones(batch, 1, *size, dtype=torch.bool),
        word_index=torch.full((batch, *size), -1),
        shortest_edge=torch.zeros(batch, 1, *size),
    )
    _draw(
        Drawn(*(part.contiguous().numpy() for part in words)),
        np.float32(stride),
        np.array(channels),
        *(part.numpy() for part in maps),
    )
    return maps


@njit(nogil=True, cache=True)
def _draw(words, stride, channels, score, geometry, mask, word_index, shortest):
    batch, count = words.valid.shape
    height, width = word_index.shape[1:]
    has_cells = np.zeros(count, dtype=np.bool_)
    for b in range(batch):
        for r in range(count):
            has_cells[r] = False
            if words.learnable[b, r]:
                has_cells[r] = _own(words, b, r, stride, word_index[b])
        for r in range(count):
            if words.valid[b, r] and not has_cells[r]:
                _hide(words.quads, b, r, stride, word_index[b], mask[b, 0])
        for i in range(height):
            for j in range(width):
                r = word_index[b, i, j]
                if r < 0:
                    continue
                score[b, 0, i, j], word_index[b, i, j] = ONE, words.number[b, r]
                shortest[b, 0, i, j] = words.shortest_edge[b, r]
                x, y = np.float32(j) * stride, np.float32(i) * stride
                if geometry.shape[1] == 8:
                    _write_corners(words.frames, b, r, i, j, x, y, geometry)
                else:
                    _write_edges(words.frames, b, r, i, j, x, y, channels, geometry)


@njit(nogil=True, cache=True)
def _own(words, b, r, stride, owner):
    """Give a word the cells of its inner part that are free; whether it got any."""
    height, width = owner.shape
    first, end = row_window(words.inner, b, r, height, stride)
    found, won = False, False
    for i in range(first, end):
        one, two, three, four = row_spans(words.inner, b, r, i, width, stride)
        found = found or two > one or four > three
        for begin, stop in ((one, two), (three, four)):
            for j in range(begin, stop):
                if owner[i, j] < 0:
                    owner[i, j], won = r, True
    cell = words.spare[b, r]
    if not found and cell >= 0 and owner[cell // width, cell % width] < 0:
        owner[cell // width, cell % width], won = r, True
    return won


@njit(nogil=True, cache=True)
def _hide(quads, b, r, stride, owner, mask):
    """Take the cells of a whole word out of the mask, but not those that are text."""
    height, width = owner.shape
    first, end = row_window(quads, b, r, height, stride)
    for i in range(first, end):
        one, two, three, four = row_spans(quads, b, r, i, width, stride)
        for begin, stop in ((one, two), (three, four)):
            for j in range(begin, stop):
                if owner[i, j] < 0:
                    mask[i, j] = False


@njit(nogil=True, cache=True)
def _write_edges(frames, b, r, i, j, x, y, channels, geometry):
    """The point in the box's own axes; then the distances to its sides."""
    right, down = x - frames[b, r, 0], y - frames[b, r, 1]
    half_width, half_height = frames[b, r, 2], frames[b, r, 3]
    cosine, sine = frames[b, r, 4], frames[b, r, 5]
    along, across = right * cosine + down * sine, down * cosine - right * sine
    geometry[b, channels[0], i, j] = half_height + across
    geometry[b, channels[1], i, j] = half_width - along
    geometry[b, channels[2], i, j] = half_height - across
    geometry[b, channels[3], i, j] = half_width + along
    geometry[b, 4, i, j] = frames[b, r, 6]


@njit(nogil=True, cache=True)
def _write_corners(frames, b, r, i, j, x, y, geometry):
    for k in range(4):
        geometry[b, 2 * k, i, j] = frames[b, r, 2 * k] - x
        geometry[b, 2 * k + 1, i, j] = frames[b, r, 2 * k + 1] - y

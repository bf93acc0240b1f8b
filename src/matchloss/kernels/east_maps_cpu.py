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
from .word_shapes_cpu import ONE, TWO, enclose, find_cells, shrink


class Style(NamedTuple):
    """How the maps are drawn."""

    stride: np.float32
    """Pixels a cell."""
    share: np.float32
    """Of an edge, by which words are shrunk."""
    is_rbox: bool
    is_folded: bool
    """Whether angles are 45 degrees at most."""
    one_cell_at_least: bool


class Drawn(NamedTuple):
    """Words ``(B, M, ...)``, the smallest first, as arrays."""

    quads: np.ndarray
    inner: np.ndarray
    """The part of each word that is text."""
    frames: np.ndarray
    """Corners ``(B, M, 8)``, or the parts of a box, ``(B, M, 7)``: centre, half sides, cosine, sine, map's angle."""
    spare: np.ndarray
    """A cell for a word without one, or -1."""
    number: np.ndarray
    """What stands in the map of words."""
    valid: np.ndarray
    """Which words are there."""
    learnable: np.ndarray
    """Which of them may be text."""
    shortest_edge: np.ndarray


def draw_maps(
    *,
    quads: Tensor,
    number: Tensor,
    valid: Tensor,
    learnable: Tensor,
    shortest_edge: Tensor,
    size: tuple[int, int],
    style: Style,
    channels: tuple[int, ...],
) -> EASTMaps:
    """Maps of so many cells down and across; top, right, bottom and left go to the ``channels``."""
    words = (quads, number, valid, learnable, shortest_edge)
    batch = len(quads)
    maps = EASTMaps(
        score=torch.zeros(batch, 1, *size),
        geometry=torch.zeros(batch, 5 if style.is_rbox else 8, *size),
        mask=torch.ones(batch, 1, *size, dtype=torch.bool),
        word_index=torch.full((batch, *size), -1),
        shortest_edge=torch.zeros(batch, 1, *size),
    )
    _draw(tuple(part.contiguous().numpy() for part in words), style, channels, tuple(part.numpy() for part in maps))
    return maps


@njit(nogil=True, cache=True)
def _draw(words, style, channels, maps):
    score, geometry, mask, word_index, shortest = maps
    height, width = word_index.shape[1:]
    words, stride = _prepare(words, style, height, width), style.stride
    batch, count = words.valid.shape
    has_cells = np.zeros(count, dtype=np.bool_)
    for b in range(batch):
        for r in range(count):
            has_cells[r] = words.learnable[b, r] and _own(words, b, r, stride, word_index[b])
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
                if style.is_rbox:
                    _write_edges(words.frames, b, r, i, j, x, y, channels, geometry)
                else:
                    _write_corners(words.frames, b, r, i, j, x, y, geometry)


@njit(nogil=True, cache=True)
def _prepare(words, style, height, width):
    """What is to be drawn of the words."""
    quads, number, valid, learnable, shortest_edge = words
    shape, corners = number.shape, quads.reshape(-1, 4, 2)
    inner, spare = corners.copy(), np.full(number.size, -1)
    shrink(inner, style.share)
    if style.one_cell_at_least:
        find_cells(corners, height, width, style.stride, spare)
    frames = corners.reshape(*shape, 8)
    if style.is_rbox:
        boxes = np.empty((number.size, 5), np.float32)
        enclose(corners, style.is_folded, boxes)
        frames = np.empty((*shape, 7), np.float32)
        _write_frames(boxes, frames.reshape(-1, 7))
    return Drawn(
        quads, inner.reshape(quads.shape), frames, spare.reshape(shape), number, valid, learnable, shortest_edge
    )


@njit(nogil=True, cache=True)
def _write_frames(boxes, frames):
    for n in range(len(boxes)):
        angle = boxes[n, 4]
        frames[n, 0], frames[n, 1] = boxes[n, 0], boxes[n, 1]
        frames[n, 2], frames[n, 3] = boxes[n, 2] / TWO, boxes[n, 3] / TWO
        frames[n, 4], frames[n, 5], frames[n, 6] = np.cos(angle), np.sin(angle), -angle


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

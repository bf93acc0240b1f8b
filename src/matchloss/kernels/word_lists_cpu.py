"""Annotated words of a batch on the CPU: padded, measured and sorted in one go, with the numbers of the plain form.

Of a few words its thirty small operators take longer than all that is done with them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .word_shapes_cpu import ZERO, measure


def pad_words(
    quads: Sequence[Tensor], ignore: Sequence[Tensor], flat: float, min_side: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Quads ``(B, M, 4, 2)`` and, ``(B, M)``, number, valid, learnable, area and shortest edge, the smallest first."""
    counts = [len(image) for image in quads]
    shape = len(counts), max(1, *counts)
    padded, number = torch.empty(*shape, 4, 2), torch.empty(shape, dtype=torch.int64)
    valid, learnable = torch.empty(shape, dtype=torch.bool), torch.empty(shape, dtype=torch.bool)
    words = padded, number, valid, learnable, torch.empty(shape), torch.empty(shape)
    _pad(
        torch.cat([image.detach().float() for image in quads]).numpy(),
        torch.cat(list(ignore)).numpy(),
        np.array(counts),
        np.float32(flat),
        np.float32(min_side),
        tuple(part.numpy() for part in words),
    )
    return words


@njit(nogil=True, cache=True)
def _pad(corners, unreadable, counts, flat, min_side, words):
    most, begin = words[1].shape[1], 0
    for b in range(len(counts)):
        end = begin + counts[b]
        own, proper = np.zeros((most, 4, 2), np.float32), np.empty(most, np.bool_)
        area, shortest = np.empty(most, np.float32), np.empty(most, np.float32)
        is_word = _copy_finite(corners[begin:end], own)
        measure(own, flat, area, shortest, proper)
        order = np.argsort(area, kind="mergesort")  # stable: of equal areas the word listed first
        quads, number, valid, learnable, areas, edges = words
        for r in range(most):
            n = order[r]
            quads[b, r], number[b, r], areas[b, r], edges[b, r] = own[n], n, area[n], shortest[n]
            valid[b, r] = is_word[n]
            # Padding is no word, and has no flag to look at.
            learnable[b, r] = is_word[n] and proper[n] and shortest[n] >= min_side and not unreadable[begin + n]
        begin = end


@njit(nogil=True, cache=True)
def _copy_finite(corners, own):
    """Copy the words whose corners all are finite; the others stay 0. Which they are."""
    finite = np.zeros(len(own), np.bool_)
    for n in range(len(corners)):
        total = ZERO
        for i in range(4):
            total += abs(corners[n, i, 0] - corners[n, i, 0]) + abs(corners[n, i, 1] - corners[n, i, 1])
        if total == ZERO:  # what is not finite is no number once it is taken from itself
            finite[n], own[n] = True, corners[n]
    return finite

"""From the score map of differentiable binarisation to words: :func:`decode_db`."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._core import check_float, check_positive, to_compute
from ..types import TextDetections
from ._components import connected_components
from ._smallest_rectangle import Rectangle, smallest_rectangle
from ._words import pad_words

Floats = NDArray[np.floating]


@torch.no_grad()
def decode_db(
    score_logits: Tensor,
    *,
    stride: int = 1,
    threshold: float = 0.3,
    box_threshold: float = 0.6,
    unclip: float | None = 1.5,
    shrink_ratio: float = 0.4,
    min_side: float = 3.0,
    max_candidates: int = 1000,
    max_detections: int | None = None,
) -> TextDetections:
    """Turn the score map that :class:`~matchloss.criteria.DBCriterion` trains into words.

        word = smallest rectangle around connected cells above the threshold, each side moved out by D' = A r' / L

    with A and L the area and perimeter of the rectangle of cells, which covers the shrunk word, and r' = ``unclip``.
    The threshold map is for training alone.

    Shapes:
        score_logits: (B, 1, h, w); a cell that is not finite counts as background.
        returns: TextDetections in pixels of the image, the best first. A map does not tell how a word is read: the
            first corner is the left end of the side that is nearest to horizontal on top.

    Args:
        stride: pixels between two cells; cell (i, j) stands for the point (stride j, stride i).
        threshold: cells of a word have a greater probability.
        box_threshold: least mean probability of the cells within the rectangle; it is the score.
        unclip: r'; None for the exact inverse of the encoder's shrinking of rectangles.
        shrink_ratio: r of the encoder, for that inverse.
        min_side: rectangles of cells with a shorter side, in pixels, are left out.
        max_candidates: how many regions of an image, the largest, are looked at.
        max_detections: how many words of an image are kept at most; None for all.

    Raises:
        ValueError: maps of another shape, a number that is not positive.

    Reference:
        Liao et al. 2020, arXiv:1911.08947, sections 3.4 and 3.5.

    Differs:
        The authors' code offsets in whole pixels with round corners and puts a rectangle around the result, which is
        this closed form up to rounding, and takes the cells' centres for the outline, here with half a cell around. A
        fixed r' cannot undo the shrinking D = A (1 - r²) / L of a word: of one ten times as long as high it gives back
        60 % of the height. ``unclip=None`` solves for D. Two touching words are one region, as in the original.

    Example:
        Of a word of 12 by 6 pixels, shrunk by 72 · 0.84 / 36 = 1.68 on each side, the cells within:

        >>> logits = torch.full((1, 1, 10, 16), -9.0)
        >>> logits[..., 4:7, 4:13] = 9.0
        >>> decode_db(logits, unclip=None, min_side=1).quads[0, 0].round()
        tensor([[ 2.,  2.],
                [14.,  2.],
                [14.,  8.],
                [ 2.,  8.]])
    """
    check_float("decode_db", "score_logits", score_logits)
    if score_logits.ndim != 4 or score_logits.shape[1] != 1:
        raise ValueError(f"decode_db: expected score_logits (B, 1, h, w), got {tuple(score_logits.shape)}")
    numbers = {"stride": stride, "unclip": unclip, "max_candidates": max_candidates, "max_detections": max_detections}
    for name, number in numbers.items():
        if number is not None:
            check_positive("decode_db", name, number)
    if not 0 < shrink_ratio <= 1:
        raise ValueError(f"decode_db: expected shrink_ratio in (0, 1], got {shrink_ratio}")
    logits = to_compute(score_logits).cpu().squeeze(1)
    scores = torch.where(logits.isfinite(), logits.sigmoid(), 0.0)
    words = []
    for labels, values in zip(connected_components(scores > threshold).numpy(), scores.numpy(), strict=True):
        quads, means = [], []
        for rows, columns in _regions(labels, max_candidates):
            rectangle = smallest_rectangle(rows, columns)
            mean = _mean_within(values, rectangle)
            if stride * min(rectangle.size) >= min_side and mean >= box_threshold:
                quads.append(stride * rectangle.corners(_offset(rectangle, unclip, shrink_ratio)))
                means.append(mean)
        best = np.argsort(-np.array(means), kind="stable")
        found = np.array(quads).reshape(-1, 4, 2)[best], np.array(means)[best]
        words.append((torch.from_numpy(found[0]), torch.from_numpy(found[1])))
    return pad_words(words, score_logits, max_detections)


def _regions(labels: NDArray[np.int64], most: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows and columns of the cells of each region, the largest regions first."""
    rows, columns = labels.nonzero()
    numbers = labels[rows, columns]
    order = numbers.argsort(kind="stable")
    _, starts, sizes = np.unique(numbers[order], return_index=True, return_counts=True)
    largest = np.argsort(-sizes, kind="stable")[:most]
    cells = [order[start : start + size] for start, size in zip(starts[largest], sizes[largest], strict=True)]
    return [(rows[these], columns[these]) for these in cells]


def _mean_within(values: Floats, rectangle: Rectangle) -> float:
    """Mean of the cells whose centres are within the rectangle."""
    corners = rectangle.corners(0.0)
    low = np.maximum(np.ceil(corners.min(0)), 0).astype(int)
    high = np.minimum(np.floor(corners.max(0)), np.array(values.shape)[::-1] - 1).astype(int)
    x, y = np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)[:, None]
    along = (x - rectangle.center[0]) * rectangle.along[0] + (y - rectangle.center[1]) * rectangle.along[1]
    across = (y - rectangle.center[1]) * rectangle.along[0] - (x - rectangle.center[0]) * rectangle.along[1]
    inside = (np.abs(along) <= rectangle.size[0] / 2) & (np.abs(across) <= rectangle.size[1] / 2)
    return float(values[low[1] : high[1] + 1, low[0] : high[0] + 1][inside].mean())


def _offset(rectangle: Rectangle, unclip: float | None, shrink_ratio: float) -> float:
    """How far the sides move out, in cells: D', or that D by which the encoder moved them in.

    The encoder has D = (w + 2 D) (h + 2 D) (1 - r²) / (2 (w + h + 4 D)) of the sides w and h that it leaves.
    """
    width, height = rectangle.size
    area, half = width * height, width + height
    if unclip is not None:
        return unclip * area / (2 * half)
    kept = 1 - shrink_ratio**2
    square, linear = 8 - 4 * kept, 2 * half * (1 - kept)
    return (math.sqrt(linear**2 + 4 * square * kept * area) - linear) / (2 * square)

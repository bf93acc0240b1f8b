"""Task-aligned assignment of a batch on the CPU: for each target only the points inside it are looked at.

The arithmetic is that of the plain form, operation by operation, in float32: both rank alike to the last bit.
"""

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ..types import Assignment
from .task_aligned_claims_cpu import claim, settle
from .task_aligned_holdings_cpu import give_points, keep_best, write_result
from .task_aligned_pairs_cpu import Numbers, corners, row_window
from .threads_cpu import share_rows

PAIRS_A_THREAD = 2**18
"""Of target and point: fewer are done before a thread has started."""


def assign_images(
    numbers: Numbers, predictions: tuple[Tensor, ...], strides: Tensor | None, targets: tuple[Tensor, ...]
) -> tuple[Assignment, int]:
    """Assign the images in as many threads as torch uses; and how many objects have a class that does not exist.

    Args:
        numbers: the options.
        predictions: scores (B, A, C), boxes (B, A, 4), points (A, 2), all float32.
        strides: (A,) float32; None where no option asks for them.
        targets: boxes (B, M, 4) float32, labels (B, M) int64, valid (B, M), ignore (B, M).
    """
    images, points = predictions[1].shape[:2]
    result = Assignment(
        target_index=torch.empty((images, points), dtype=torch.int64),
        labels=torch.empty((images, points), dtype=torch.int64),
        scores=torch.empty((images, points)),
        ignore=torch.empty((images, points), dtype=torch.bool),
    )
    # Few scores are read: to copy them all into another layout would cost more.
    scores, boxes, places = predictions[0].numpy(), *(values.contiguous().numpy() for values in predictions[1:])
    steps = np.ones(points, np.float32) if strides is None else strides.contiguous().numpy()
    seen, wanted = (scores, boxes, places, steps), tuple(values.contiguous().numpy() for values in targets)
    written, unknown = tuple(values.numpy() for values in result), np.zeros(images, np.int64)
    rows = row_starts(places)
    share_rows(
        lambda part: _assign_block(numbers, seen, rows, wanted, written, unknown, part.start, part.stop),
        images,
        1 + PAIRS_A_THREAD // max(points * wanted[0].shape[1], 1),
    )
    return result, int(unknown.sum())


@njit(nogil=True, cache=True)
def row_starts(points):
    """Where runs of points of one y and rising x begin, and the end: a grid has few, other points one each."""
    starts = np.empty(len(points) + 1, dtype=np.int64)
    count = 0
    for a in range(len(points)):
        if a == 0 or points[a, 1] != points[a - 1, 1] or not points[a, 0] > points[a - 1, 0]:
            starts[count] = a
            count += 1
    starts[count] = len(points)
    return starts[: count + 1]


@njit(nogil=True, cache=True, error_model="numpy")
def _assign_block(numbers, predictions, rows, targets, results, unknown, begin, end):
    scores, boxes, points, strides = predictions
    for image in range(begin, end):
        seen = scores[image], boxes[image], points, strides
        owner, labels = results[0][image], targets[1][image]
        owner[:], results[1][image, :], results[2][image, :], results[3][image, :] = -1, -1, 0, False
        own, valid, ignore = targets[0][image], targets[2][image], targets[3][image]
        matchable, unknown[image] = _find_matchable(own, labels, valid, ignore, scores.shape[2])
        wanted = own, _widened(own, numbers.min_side), labels, matchable
        metric, overlap = np.empty(len(owner), np.float32), np.empty(len(owner), np.float32)
        held = owner, metric, overlap
        claimed, contested = claim(numbers, seen, rows, wanted, held)
        if numbers.conflict > 0:
            settle(numbers, seen, wanted, contested, held)
        if numbers.second_topk > 0:
            keep_best(owner, metric, len(labels), numbers.second_topk)
        if numbers.min_points > 0:
            give_points(numbers, seen, wanted, held)
            claimed = np.flatnonzero(owner >= 0)
        _mark_ignored(points, rows, own, valid, ignore, results[3][image])
        write_result(claimed, held, labels, numbers.eps, results[1][image], results[2][image], results[3][image])


@njit(nogil=True, cache=True)
def _find_matchable(boxes, labels, valid, ignore, classes):
    """Which objects have a known class and a proper, finite box; how many have another class."""
    matchable, unknown = np.empty(len(labels), np.bool_), 0
    for m in range(len(labels)):
        known, is_object = 0 <= labels[m] < classes, valid[m] and not ignore[m] and _is_finite(boxes, m)
        is_object = is_object and boxes[m, 2] >= boxes[m, 0] and boxes[m, 3] >= boxes[m, 1]
        matchable[m] = is_object and known
        unknown += is_object and not known
    return matchable, unknown


@njit(nogil=True, cache=True)
def _is_finite(boxes, m):
    x1, y1, x2, y2 = corners(boxes, m)
    return math.isfinite(x1) and math.isfinite(y1) and math.isfinite(x2) and math.isfinite(y2)


@njit(nogil=True, cache=True)
def _widened(boxes, min_side):
    near = boxes.copy()
    half = min_side / np.float32(2)
    for m in range(len(boxes)):
        for axis in range(2):
            low, high = boxes[m, axis], boxes[m, axis + 2]
            if high - low < min_side:
                center = low / np.float32(2) + high / np.float32(2)
                near[m, axis], near[m, axis + 2] = center - half, center + half
    return near


@njit(nogil=True, cache=True)
def _mark_ignored(points, rows, boxes, valid, ignore, marks):
    for m in range(len(boxes)):
        if valid[m] and ignore[m] and _is_finite(boxes, m):
            for row in range(len(rows) - 1):
                begin, end = row_window(points, rows[row], rows[row + 1], corners(boxes, m), np.float32(0))
                for a in range(begin, end):
                    marks[a] = True

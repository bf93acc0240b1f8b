"""Task-aligned assignment of a batch on the CPU: for each target only the points inside it are looked at.

The arithmetic is that of the plain form, operation by operation, in float32: both rank alike to the last bit.
"""

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


def assign_images(numbers: Numbers, predictions: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Assignment:
    """Assign the images in as many threads as torch uses; the kernel lets go of the interpreter meanwhile.

    Args:
        numbers: the options.
        predictions: scores (B, A, C), boxes (B, A, 4), points (A, 2), strides (A,), all float32.
        targets: boxes (B, M, 4), labels (B, M), matchable (B, M), ignored (B, M).
    """
    images, points = predictions[1].shape[:2]
    result = Assignment(
        target_index=torch.empty((images, points), dtype=torch.int64),
        labels=torch.empty((images, points), dtype=torch.int64),
        scores=torch.empty((images, points)),
        ignore=torch.empty((images, points), dtype=torch.bool),
    )
    # Few scores are read: to copy them all into another layout would cost more.
    seen = tuple(values.numpy() for values in (predictions[0], *(values.contiguous() for values in predictions[1:])))
    wanted = tuple(values.contiguous().numpy() for values in targets)
    written = tuple(values.numpy() for values in result)
    rows = row_starts(seen[2])
    share_rows(
        lambda part: _assign_block(numbers, seen, rows, wanted, written, part.start, part.stop),
        images,
        1 + PAIRS_A_THREAD // max(points * wanted[0].shape[1], 1),
    )
    return result


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
def _assign_block(numbers, predictions, rows, targets, results, begin, end):
    scores, boxes, points, strides = predictions
    for image in range(begin, end):
        seen = scores[image], boxes[image], points, strides
        owner, labels = results[0][image], targets[1][image]
        owner[:], results[1][image, :], results[2][image, :], results[3][image, :] = -1, -1, 0, False
        wanted = targets[0][image], _widened(targets[0][image], numbers.min_side), labels, targets[2][image]
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
        _mark_ignored(points, rows, targets[0][image], targets[3][image], results[3][image])
        write_result(claimed, held, labels, numbers.eps, results[1][image], results[2][image], results[3][image])


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
def _mark_ignored(points, rows, boxes, ignored, marks):
    for m in range(len(boxes)):
        if ignored[m]:
            for row in range(len(rows) - 1):
                begin, end = row_window(points, rows[row], rows[row + 1], corners(boxes, m), np.float32(0))
                for a in range(begin, end):
                    marks[a] = True

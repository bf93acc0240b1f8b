"""Task-aligned assignment of a batch on the CPU: for each target only the points inside it are looked at.

The arithmetic is that of the plain form, operation by operation, in float32: both rank alike to the last bit.
Numba's cache watches this file, not those that it imports from: after a change of theirs, touch it.
"""

import threading
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ..types import Assignment
from .task_aligned_holdings_cpu import give_points, keep_best, write_result
from .task_aligned_pairs_cpu import Numbers, corners, is_inside, look_at, overlap_bound, passes, pixel, powered

Array = NDArray[Any]


def assign_images(numbers: Numbers, predictions: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Assignment:
    """Assign the images in as many threads as torch uses; the kernel lets go of the interpreter meanwhile.

    Args:
        numbers: the options.
        predictions: scores (B, A, C), boxes (B, A, 4), points (A, 2), strides (A,), all float32.
        targets: boxes (B, M, 4), labels (B, M), matchable (B, M), ignored (B, M).
    """
    images, points = predictions[1].shape[:2]
    result = Assignment(
        target_index=torch.full((images, points), -1),
        labels=torch.full((images, points), -1),
        scores=torch.zeros((images, points)),
        ignore=torch.zeros((images, points), dtype=torch.bool),
    )
    reads = [
        tensor.numpy() if number == 0 else tensor.contiguous().numpy() for number, tensor in enumerate(predictions)
    ]
    rows = row_starts(reads[2])
    described = tuple(tensor.contiguous().numpy() for tensor in targets)
    writes = tuple(tensor.numpy() for tensor in result)
    blocks = np.linspace(0, images, min(torch.get_num_threads(), max(images, 1)) + 1).astype(int)
    work = [(numbers, *reads, rows, described, writes, int(a), int(b)) for a, b in pairwise(blocks)]
    threads = [threading.Thread(target=_assign_block, args=arguments) for arguments in work[1:]]
    for thread in threads:
        thread.start()
    _assign_block(*work[0])
    for thread in threads:
        thread.join()
    return result


@njit(nogil=True, cache=True)
def row_starts(points):  # type: ignore[no-untyped-def]
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
def _assign_block(numbers, all_scores, all_boxes, points, strides, rows, described, writes, begin, end):  # type: ignore[no-untyped-def]
    for image in range(begin, end):
        scores, boxes = all_scores[image], all_boxes[image]
        targets, labels = described[0][image], described[1][image]
        matchable, ignored = described[2][image], described[3][image]
        owner = writes[0][image]
        near = _widen_all(targets, numbers)
        metric, overlap = np.zeros(len(owner), np.float32), np.zeros(len(owner), np.float32)
        claims = np.zeros(len(owner), np.int64)
        _claim(
            numbers,
            scores,
            boxes,
            points,
            strides,
            rows,
            targets,
            near,
            labels,
            matchable,
            claims,
            owner,
            metric,
            overlap,
        )
        if numbers.conflict > 0:
            _settle(
                numbers,
                scores,
                boxes,
                points,
                strides,
                targets,
                near,
                labels,
                matchable,
                claims,
                owner,
                metric,
                overlap,
            )
        if numbers.second_topk > 0:
            keep_best(owner, metric, len(labels), numbers.second_topk)
        if numbers.min_points > 0:
            give_points(numbers, scores, boxes, points, strides, targets, labels, matchable, owner, metric, overlap)
        _mark_ignored(points, rows, targets, ignored, writes[3][image])
        write_result(owner, metric, overlap, labels, numbers.eps, writes[1][image], writes[2][image], writes[3][image])


@njit(nogil=True, cache=True)
def _widen_all(boxes, numbers):  # type: ignore[no-untyped-def]
    near = boxes.copy()
    half = numbers.min_side / np.float32(2)
    for m in range(len(boxes)):
        for axis in range(2):
            low, high = boxes[m, axis], boxes[m, axis + 2]
            if high - low < numbers.min_side:
                center = low / np.float32(2) + high / np.float32(2)
                near[m, axis], near[m, axis + 2] = center - half, center + half
    return near


@njit(nogil=True, cache=True, error_model="numpy")
def _claim(  # type: ignore[no-untyped-def]
    numbers, scores, boxes, points, strides, rows, targets, near, labels, matchable, claims, owner, metric, overlap
):
    """Let each target select its best points; of several targets the one of highest overlap holds the point."""
    k = min(numbers.topk, len(owner))
    index, best, best_overlap = np.empty(k, np.int64), np.empty(k, np.float32), np.empty(k, np.float32)
    spans = np.array([0, len(owner)]) if numbers.among_all else rows
    for m in range(len(labels)):
        if not matchable[m]:
            continue
        target, window, label = corners(targets, m), corners(near, m), labels[m]
        found = _select(
            numbers, scores, boxes, points, strides, spans, target, window, label, index, best, best_overlap
        )
        for place in range(found):
            a, t, u = index[place], best[place], best_overlap[place]
            if numbers.among_all and not passes(numbers, window, pixel(points, a), t, u):
                continue
            claims[a] += 1
            if claims[a] == 1 or u > overlap[a]:
                owner[a], metric[a], overlap[a] = m, t, u


@njit(nogil=True, cache=True, error_model="numpy")
def _select(  # type: ignore[no-untyped-def]
    numbers, scores, boxes, points, strides, spans, target, window, label, index, best, best_overlap
):
    """Fill the lists with the best points of a target, sorted, and return their number."""
    k, found = len(index), 0
    for span in range(len(spans) - 1):
        begin, end = spans[span], spans[span + 1]
        if not numbers.among_all:
            begin, end = row_window(points, begin, end, window, numbers.margin)
        for a in range(begin, end):
            box, point = corners(boxes, a), pixel(points, a)
            if found == k:
                # Most are done with here, before their score is read: it is far off in memory.
                bound = overlap_bound(numbers, box, target)
                if bound <= best[k - 1] or powered(scores[a, label], numbers.alpha) * bound <= best[k - 1]:
                    continue
            possible, t, u = look_at(numbers, scores[a, label], box, target, point, strides[a])
            if possible and (numbers.among_all or passes(numbers, window, point, t, u)):
                found = _enter(index, best, best_overlap, found, a, t, u)
    return found


@njit(nogil=True, cache=True)
def _enter(index, metric, overlap, found, a, t, u):  # type: ignore[no-untyped-def]
    """Insert into the list of the best, which is sorted; what came first stands before its equals."""
    if found == len(index):
        if t <= metric[found - 1]:
            return found
        found -= 1
    place = found
    while place > 0 and metric[place - 1] < t:
        index[place], metric[place], overlap[place] = index[place - 1], metric[place - 1], overlap[place - 1]
        place -= 1
    index[place], metric[place], overlap[place] = a, t, u
    return found + 1


@njit(nogil=True, cache=True)
def row_window(points, begin, end, box, margin):  # type: ignore[no-untyped-def]
    """The part of a row inside the box, by bisection: x rises."""
    y = points[begin, 1]
    if not (y - box[1] > margin and box[3] - y > margin):
        return begin, begin
    low, high = begin, end
    while low < high:
        middle = (low + high) // 2
        if points[middle, 0] - box[0] > margin:
            high = middle
        else:
            low = middle + 1
    first, high = low, end
    while low < high:
        middle = (low + high) // 2
        if box[2] - points[middle, 0] > margin:
            low = middle + 1
        else:
            high = middle
    return first, low


@njit(nogil=True, cache=True, error_model="numpy")
def _settle(  # type: ignore[no-untyped-def]
    numbers, scores, boxes, points, strides, targets, near, labels, matchable, claims, owner, metric, overlap
):
    """Give contested points to the highest overlap of all targets, or of all that contain them."""
    for a in range(len(owner)):
        if claims[a] < 2:
            continue
        highest, box, point = np.float32(-1), corners(boxes, a), pixel(points, a)
        for m in range(len(labels)):
            window = corners(near, m)
            if not matchable[m] or (numbers.conflict == 1 and not is_inside(window, point, numbers.margin)):
                continue
            possible, t, u = look_at(numbers, scores[a, labels[m]], box, corners(targets, m), point, strides[a])
            if not possible or (numbers.conflict == 1 and not passes(numbers, window, point, t, u)):
                continue
            if u > highest:
                highest, owner[a], metric[a], overlap[a] = u, m, t, u


@njit(nogil=True, cache=True)
def _mark_ignored(points, rows, boxes, ignored, marks):  # type: ignore[no-untyped-def]
    for m in range(len(boxes)):
        if ignored[m]:
            for row in range(len(rows) - 1):
                begin, end = row_window(points, rows[row], rows[row + 1], corners(boxes, m), np.float32(0))
                for a in range(begin, end):
                    marks[a] = True

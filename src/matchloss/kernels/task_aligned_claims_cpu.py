"""Who selects which points, and who gets the contested ones, for the CPU kernel of task-aligned assignment."""

import numpy as np
from numba import njit

from .task_aligned_pairs_cpu import (
    are_apart,
    corners,
    is_inside,
    look_at,
    overlap_bound,
    passes,
    pixel,
    powered,
    row_window,
)


@njit(nogil=True, cache=True, error_model="numpy")
def claim(numbers, seen, rows, wanted, held):  # type: ignore[no-untyped-def]
    """Let each target select its best points; of several targets the one of highest overlap holds the point."""
    points, (targets, near, labels, matchable), (owner, metric, overlap) = seen[2], wanted, held
    claims, k = np.zeros(len(owner), np.int64), min(numbers.topk, len(owner))
    lists = np.empty(k, np.int64), np.empty(k, np.float32), np.empty(k, np.float32)
    spans = np.array([0, len(owner)]) if numbers.among_all else rows
    for m in range(len(labels)):
        if not matchable[m]:
            continue
        found = _select(numbers, seen, spans, corners(targets, m), corners(near, m), labels[m], lists)
        for place in range(found):
            a, t, u = lists[0][place], lists[1][place], lists[2][place]
            if numbers.among_all and not passes(numbers, corners(near, m), pixel(points, a), t, u):
                continue
            claims[a] += 1
            if claims[a] == 1 or u > overlap[a]:
                owner[a], metric[a], overlap[a] = m, t, u
    return claims


@njit(nogil=True, cache=True, error_model="numpy")
def _select(numbers, seen, spans, target, window, label, lists):  # type: ignore[no-untyped-def]
    """Fill the lists with the best points of a target, sorted, and return their number."""
    (scores, boxes, points, strides), (index, best, best_overlap) = seen, lists
    k, found = len(index), 0
    for span in range(len(spans) - 1):
        begin, end = spans[span], spans[span + 1]
        if not numbers.among_all:
            begin, end = row_window(points, begin, end, window, numbers.margin)
        for a in range(begin, end):
            box, point = corners(boxes, a), pixel(points, a)
            if found == k:
                # Most are done with here, before their score is read: it is far off in memory.
                if numbers.beta > 0 and are_apart(box, target):
                    continue
                bound = powered(overlap_bound(numbers.is_ciou, box, target), numbers.beta) * numbers.slack
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


@njit(nogil=True, cache=True, error_model="numpy")
def settle(numbers, seen, wanted, claims, held):  # type: ignore[no-untyped-def]
    """Give contested points to the highest overlap of all targets, or of all that contain them."""
    (scores, boxes, points, strides), (targets, near, labels, matchable), (owner, metric, overlap) = seen, wanted, held
    for a in range(len(owner)):
        if claims[a] < 2:
            continue
        highest, box, point = np.float32(-1), corners(boxes, a), pixel(points, a)
        for m in range(len(labels)):
            window, target = corners(near, m), corners(targets, m)
            if not matchable[m] or (numbers.conflict == 1 and not is_inside(window, point, numbers.margin)):
                continue
            if highest >= 0 and (are_apart(box, target) or overlap_bound(numbers.is_ciou, box, target) <= highest):
                continue
            possible, t, u = look_at(numbers, scores[a, labels[m]], box, target, point, strides[a])
            if not possible or (numbers.conflict == 1 and not passes(numbers, window, point, t, u)):
                continue
            if u > highest:
                highest, owner[a], metric[a], overlap[a] = u, m, t, u

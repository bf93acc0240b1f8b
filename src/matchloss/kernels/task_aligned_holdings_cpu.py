"""Fewer points, more points and soft scores, for the CPU kernel of task-aligned assignment."""

import numpy as np
from numba import njit

from .task_aligned_pairs_cpu import corners, look_at, pixel


@njit(nogil=True, cache=True)
def ranks(owner, metric, targets):
    """Place of each point among those of its target by metric; of equal ones the lowest first. 0 for background."""
    starts = np.zeros(targets + 1, np.int64)
    for a in range(len(owner)):
        if owner[a] >= 0:
            starts[owner[a] + 1] += 1
    starts = np.cumsum(starts)
    filled, members = starts.copy(), np.empty(starts[targets], np.int64)
    for a in range(len(owner)):
        if owner[a] >= 0:
            members[filled[owner[a]]] = a
            filled[owner[a]] += 1
    rank = np.zeros(len(owner), np.int64)
    for m in range(targets):
        held = members[starts[m] : starts[m + 1]]
        order = np.argsort(-metric[held], kind="mergesort")  # stable
        for place in range(len(order)):
            rank[held[order[place]]] = place
    return rank


@njit(nogil=True, cache=True)
def keep_best(owner, metric, targets, count):
    """Let each target keep its best points, so many at most."""
    rank = ranks(owner, metric, targets)
    for a in range(len(owner)):
        if rank[a] >= count:
            owner[a] = -1


@njit(nogil=True, cache=True)
def give_points(numbers, seen, wanted, state):
    """See the plain form: the nearest points that nobody needs, one target after the other."""
    (scores, boxes, points, strides), (targets, _, labels, matchable), (owner, metric, overlap) = seen, wanted, state
    rank = ranks(owner, metric, len(labels))
    free = np.empty(len(owner), np.bool_)
    held = np.zeros(len(labels), np.int64)
    for a in range(len(owner)):
        free[a] = owner[a] < 0 or rank[a] >= numbers.min_points
        if owner[a] >= 0:
            held[owner[a]] += 1
    for m in range(len(labels)):
        while matchable[m] and held[m] < numbers.min_points:
            target = corners(targets, m)
            a = _nearest(numbers, seen, target, labels[m], free)
            if a < 0:
                break
            if owner[a] >= 0:
                held[owner[a]] -= 1
            _, metric[a], overlap[a] = look_at(
                numbers, scores[a, labels[m]], corners(boxes, a), target, pixel(points, a), strides[a]
            )
            owner[a], free[a] = m, False
            held[m] += 1


@njit(nogil=True, cache=True)
def _nearest(numbers, seen, target, label, free):
    scores, boxes, points, strides = seen
    two = np.float32(2)
    x, y = target[0] / two + target[2] / two, target[1] / two + target[3] / two
    best, shortest = -1, np.float32(np.inf)
    for a in range(len(free)):
        across, down = points[a, 0] - x, points[a, 1] - y
        distance = across * across + down * down
        if free[a] and distance < shortest:
            pair = look_at(numbers, scores[a, label], corners(boxes, a), target, pixel(points, a), strides[a])
            if pair[0]:
                best, shortest = a, distance
    return best


@njit(nogil=True, cache=True, error_model="numpy")
def write_result(claimed, held, target_labels, eps, labels, scores, ignore):
    """Labels, soft scores, and no ignored positives, of the points that were claimed."""
    owner, metric, overlap = held
    highest_metric = np.zeros(len(target_labels), np.float32)
    highest_overlap = np.zeros(len(target_labels), np.float32)
    for a in claimed:
        if owner[a] >= 0:
            highest_metric[owner[a]] = max(highest_metric[owner[a]], metric[a])
            highest_overlap[owner[a]] = max(highest_overlap[owner[a]], overlap[a])
    for a in claimed:
        m = owner[a]
        if m >= 0:
            labels[a] = target_labels[m]
            scores[a] = metric[a] / (highest_metric[m] + eps) * highest_overlap[m]
            ignore[a] = False

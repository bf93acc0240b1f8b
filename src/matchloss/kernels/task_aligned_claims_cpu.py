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

ZERO, DONE, INFINITY = np.float32(0), np.float32(-1), np.float32(np.inf)


@njit(nogil=True, cache=True, error_model="numpy")
def claim(numbers, seen, rows, wanted, held):
    """Let each target select its best points; of several targets the one of highest overlap holds the point.

    Which points are held, and which of them several targets selected.
    """
    points, (targets, near, labels, matchable), (owner, metric, overlap) = seen[2], wanted, held
    count, k = len(owner), min(numbers.topk, len(owner))
    claims, claimed, contested = np.zeros(count, np.int8), np.empty(count, np.int64), np.empty(count, np.int64)
    lists = np.empty(k, np.int64), np.empty(k, np.float32), np.empty(k, np.float32)
    likeliest = np.empty(k, np.int64), np.empty(k, np.float32)
    room = np.empty(count, np.int64), np.empty((5, count), np.float32)
    spans, firsts, seconds = np.array([0, count]) if numbers.among_all else rows, 0, 0
    for m in range(len(labels)):
        if not matchable[m]:
            continue
        target, window = corners(targets, m), corners(near, m)
        places, bounds = _list_points(numbers, seen, spans, target, window, room)
        found = _select(numbers, seen, target, window, labels[m], (places, bounds, room[1][0]), likeliest, lists)
        for place in range(found):
            a, t, u = lists[0][place], lists[1][place], lists[2][place]
            if numbers.among_all and not passes(numbers, window, pixel(points, a), t, u):
                continue
            if claims[a] == 0:
                claimed[firsts], firsts = a, firsts + 1
            elif claims[a] == 1:
                contested[seconds], seconds = a, seconds + 1
            if claims[a] == 0 or u > overlap[a]:
                owner[a], metric[a], overlap[a] = m, t, u
            claims[a] = min(claims[a] + 1, 2)
    return claimed[:firsts], contested[:seconds]


@njit(nogil=True, cache=True, error_model="numpy")
def _list_points(numbers, seen, spans, target, window, room):
    """Which points compete for a target, and what their metrics do not exceed, at any score.

    Their boxes are written side by side, so that the second loop, which has no branch, takes several at once.
    """
    (_, boxes, points, _), (places, columns), count = seen, room, 0
    x1, y1, x2, y2, bounds = columns
    for span in range(len(spans) - 1):
        begin, end = spans[span], spans[span + 1]
        if not numbers.among_all:
            begin, end = row_window(points, begin, end, window, numbers.margin)
        for a in range(begin, end):
            places[count] = a
            x1[count], y1[count], x2[count], y2[count] = corners(boxes, a)
            count += 1
    skips = numbers.beta > 0
    for n in range(count):
        box = x1[n], y1[n], x2[n], y2[n]
        bound = overlap_bound(numbers.is_ciou, box, target)
        bounds[n] = ZERO if skips & are_apart(box, target) else bound
    for n in range(count):
        bounds[n] = powered(bounds[n], numbers.beta) * numbers.slack
    return places[:count], bounds[:count]


@njit(nogil=True, cache=True, error_model="numpy")
def _select(numbers, seen, target, window, label, listed, likeliest, lists):
    """Fill the lists with the best points of a target, sorted, and return their number.

    First the points with the highest bounds: most others are done with after that, before their score is read, which is
    far off in memory. A metric of 0 is left for the second round, which goes by the points' numbers.
    """
    (scores, boxes, points, strides), (places, bounds, likely) = seen, listed
    (index, best, best_overlap), k, found = lists, len(lists[0]), 0
    first = _find_likeliest(bounds, likeliest)
    # Before they are used, so that the memory looks for several at a time.
    for place in range(first):
        likely[place] = scores[places[likeliest[0][place]], label]
    for place in range(first):
        n = likeliest[0][place]
        a = places[n]
        point = pixel(points, a)
        possible, t, u = look_at(numbers, likely[place], corners(boxes, a), target, point, strides[a])
        if possible and t > ZERO and (numbers.among_all or passes(numbers, window, point, t, u)):
            found = _enter(index, best, best_overlap, found, a, t, u)
            bounds[n] = DONE
    least, count = best[k - 1] if found == k else -INFINITY, 0
    for n in range(len(places)):
        if not (bounds[n] == DONE or bounds[n] <= least):
            places[count], bounds[count], likely[count] = places[n], bounds[n], scores[places[n], label]
            count += 1
    for n in range(count):
        a, score = places[n], likely[n]
        if found == k and (bounds[n] <= best[k - 1] or powered(score, numbers.alpha) * bounds[n] <= best[k - 1]):
            continue
        point = pixel(points, a)
        possible, t, u = look_at(numbers, score, corners(boxes, a), target, point, strides[a])
        if possible and (numbers.among_all or passes(numbers, window, point, t, u)):
            found = _enter(index, best, best_overlap, found, a, t, u)
    return found


@njit(nogil=True, cache=True)
def _find_likeliest(bounds, likeliest):
    """List the places of the highest bounds above 0; how many."""
    (which, highest), found = likeliest, 0
    for n in range(len(bounds)):
        bound = bounds[n]
        if not bound > ZERO or (found == len(which) and not bound > highest[found - 1]):
            continue
        place = min(found, len(which) - 1)
        while place > 0 and highest[place - 1] < bound:
            which[place], highest[place] = which[place - 1], highest[place - 1]
            place -= 1
        which[place], highest[place] = n, bound
        found = min(found + 1, len(which))
    return found


@njit(nogil=True, cache=True)
def _enter(index, metric, overlap, found, a, t, u):
    """Insert into the list of the best, which is sorted; of equals the lowest point stands first."""
    if found == len(index):
        if t < metric[found - 1] or (t == metric[found - 1] and a > index[found - 1]):
            return found
        found -= 1
    place = found
    while place > 0 and (metric[place - 1] < t or (metric[place - 1] == t and index[place - 1] > a)):
        index[place], metric[place], overlap[place] = index[place - 1], metric[place - 1], overlap[place - 1]
        place -= 1
    index[place], metric[place], overlap[place] = a, t, u
    return found + 1


@njit(nogil=True, cache=True, error_model="numpy")
def settle(numbers, seen, wanted, contested, held):
    """Give contested points to the highest overlap of all targets, or of all that contain them."""
    (scores, boxes, points, strides), (targets, near, labels, matchable), (owner, metric, overlap) = seen, wanted, held
    for a in contested:
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

"""What each target of SimOTA wants, on the CPU: overlaps only where boxes meet, costs only where they can matter.

The arithmetic is that of the plain form, operation by operation, in float32, and logarithms are rounded from double
precision in both: they rank alike to the last bit.
"""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .overlaps_cpu import corners
from .simota_pairs_cpu import Numbers, is_early, least_cost, look, overlap_or_zero, pair_cost
from .task_aligned_pairs_cpu import overlap_bound
from .threads_cpu import share_rows

INFINITY, ZERO = np.float32(np.inf), np.float32(0)
PLACE_BITS, LATER, NEVER = np.int64(31), np.int64(2**62), np.int64(2**63 - 1)
"""Of the keys of `assigners/_ranking.py` and `assigners/simota.py`."""
PAIRS_A_THREAD = 2**18
"""Of target and point: fewer are done before a thread has started."""


def find_near(numbers: Numbers, points: Tensor, strides: Tensor, boxes: Tensor, matchable: Tensor) -> Tensor:
    """``(B, A)``: which of the points ``(A, 2)`` are near to a target's centre, or inside one."""
    near = torch.zeros(len(boxes), len(points), dtype=torch.bool)
    seen = [tensor.contiguous().numpy() for tensor in (*points.unbind(1), strides, boxes, matchable)]
    result = near.numpy()

    def find(images: slice) -> None:
        _find_near(numbers, *seen, result, images.start, images.stop)

    share_rows(find, len(boxes), _images_a_thread(len(points), boxes.shape[1]))
    return near


def choose_points(
    numbers: Numbers, predictions: tuple[Tensor, ...], targets: tuple[Tensor, ...], k: int
) -> tuple[Tensor, Tensor]:
    """``(B, M, k)`` keys of the cheapest points, the first ones first, and the largest overlaps.

    Args:
        numbers: the options.
        predictions: scores (B, A, C), cost of no class (B, A), boxes (B, A, 4), points (A, 2), strides (A,), all
            float32, and usable (B, A).
        targets: boxes (B, M, 4), labels (B, M), matchable (B, M).
        k: how many.
    """
    keys = torch.full((*targets[1].shape, k), int(NEVER))
    overlaps = torch.zeros(keys.shape)
    seen, wanted = _arrays(predictions), _arrays(targets)
    result, largest = keys.numpy(), overlaps.numpy()

    def choose(images: slice) -> None:
        _choose_images(numbers, seen, wanted, result, largest, images.start, images.stop)

    share_rows(choose, len(keys), _images_a_thread(predictions[1].shape[1], keys.shape[1]))
    return keys, overlaps


def cheapest_targets(
    numbers: Numbers, predictions: tuple[Tensor, ...], targets: tuple[Tensor, ...], contested: Tensor
) -> Tensor:
    """``(B, A)`` the least key of each contested point over all targets, with the target's row; NEVER elsewhere."""
    keys = torch.full(contested.shape, int(NEVER))
    _find_cheapest(numbers, _arrays(predictions), _arrays(targets), contested.numpy(), keys.numpy())
    return keys


def _arrays(tensors: tuple[Tensor, ...]) -> tuple[np.ndarray, ...]:
    return tuple(tensor.contiguous().numpy() for tensor in tensors)


def _images_a_thread(points: int, targets: int) -> int:
    return 1 + PAIRS_A_THREAD // max(1, points * targets)


@njit(nogil=True, cache=True)
def _find_near(numbers, x, y, strides, boxes, matchable, near, begin, end):
    for image in range(begin, end):
        marks = near[image]
        for m in range(len(boxes[image])):
            if matchable[image, m]:
                box = corners(boxes[image], m)
                for a in range(len(marks)):  # no branch, so that a compiler can do several at once
                    in_center, in_box = look(numbers, x[a], y[a], strides[a], box)
                    marks[a] |= in_center | (in_box & (not numbers.center_only))


@njit(nogil=True, cache=True)
def _choose_images(numbers, predictions, targets, keys, overlaps, begin, end):
    scores, background, boxes, points, strides, usable = predictions
    for image in range(begin, end):
        seen = scores[image], background[image], boxes[image], points, strides
        places = np.flatnonzero(usable[image])
        for m in range(keys.shape[1]):
            if targets[2][image, m]:
                target, label = corners(targets[0][image], m), targets[1][image, m]
                _choose(numbers, seen, places, target, label, keys[image, m], overlaps[image, m])


@njit(nogil=True, cache=True)
def _choose(numbers, seen, places, target, label, best, largest):
    """Points that are early first: the others are looked at only where the early ones are too few."""
    scores, background, boxes, points, strides = seen
    for a in places:
        box, early = corners(boxes, a), is_early(numbers, points[a, 0], points[a, 1], strides[a], target)
        if not early and overlap_bound(False, box, target) <= largest[-1]:
            continue
        overlap = overlap_or_zero(box, target)
        if early or overlap > largest[-1]:
            cost = pair_cost(numbers, background[a], scores[a, label], overlap)
            if cost < INFINITY:  # and not NaN
                _enter_largest(largest, overlap)
                if early:
                    _enter(best, _key(cost, a))
    if best[-1] == NEVER:
        _choose_later(numbers, seen, places, target, label, best)


@njit(nogil=True, cache=True)
def _choose_later(numbers, seen, places, target, label, best):
    scores, background, boxes, points, strides = seen
    apart = np.float64(numbers.weight) * np.log(np.float64(numbers.eps))
    for a in places:
        if not is_early(numbers, points[a, 0], points[a, 1], strides[a], target):
            overlap = overlap_or_zero(corners(boxes, a), target)
            if overlap == ZERO and least_cost(background[a], scores[a, label], apart) > _worst(best):
                continue
            cost = pair_cost(numbers, background[a], scores[a, label], overlap)
            if cost < INFINITY:
                _enter(best, _key(cost, a) + LATER)


@njit(nogil=True, cache=True)
def _worst(best):
    """What a later point must not exceed."""
    if best[-1] == NEVER:
        return INFINITY
    return np.int32((best[-1] - LATER) >> PLACE_BITS).view(np.float32)


@njit(nogil=True, cache=True)
def _key(cost, place):
    return np.int64(np.float32(cost).view(np.int32)) << PLACE_BITS | np.int64(place)


@njit(nogil=True, cache=True)
def _enter(best, key):
    """Insert into the sorted keys, if it is among them."""
    if key >= best[-1]:
        return
    n = len(best) - 1
    while n > 0 and best[n - 1] > key:
        best[n] = best[n - 1]
        n -= 1
    best[n] = key


@njit(nogil=True, cache=True)
def _enter_largest(largest, overlap):
    if not overlap > largest[-1]:
        return
    n = len(largest) - 1
    while n > 0 and largest[n - 1] < overlap:
        largest[n] = largest[n - 1]
        n -= 1
    largest[n] = overlap


@njit(nogil=True, cache=True)
def _find_cheapest(numbers, predictions, targets, contested, keys):
    scores, background, boxes, points, strides, usable = predictions
    for image in range(len(keys)):
        for a in np.flatnonzero(contested[image] & usable[image]):
            x, y, box = points[a, 0], points[a, 1], corners(boxes[image], a)
            for m in range(len(targets[0][image])):
                if targets[2][image, m]:
                    target = corners(targets[0][image], m)
                    score = scores[image, a, targets[1][image, m]]
                    cost = pair_cost(numbers, background[image, a], score, overlap_or_zero(box, target))
                    if cost < INFINITY:
                        early = is_early(numbers, x, y, strides[a], target)
                        keys[image, a] = min(keys[image, a], _key(cost, m) + (np.int64(0) if early else LATER))

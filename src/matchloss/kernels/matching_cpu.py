"""Set matching on the CPU in one go: costs of an image, solved while they are still near, and who got whom."""

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from .linear_assignment_cpu import assign_problem
from .matching_cost_cpu import Numbers, fill_costs
from .threads_cpu import share_rows

MARKS = np.float32(np.inf).view(np.int32), np.int32(2**31 - 1)
PAIRS_A_THREAD = 2**16
"""Fewer are done before a thread has started."""
MATCHED, SURPLUS, BROKEN, UNKNOWN = 0, 1, 2, 3


def match_problems(
    logits: Tensor, boxes: Tensor, targets: tuple[Tensor, ...], numbers: Numbers, classes: int, share: bool
) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
    """Query of each target ``(..., B, M)``, target of each query ``(..., B, Q)``, and counts of all problems ``(4,)``.

    The images are shared by as many threads as torch uses. Small operators around the kernel would take as long as it
    does for a few targets: that is why it reads the targets as they come.

    Args:
        logits: (..., B, Q, C) float32.
        boxes: (..., B, Q, 4) cxcywh, float32.
        targets: labels (B, M), boxes (B, M, 4) cxcywh in float32, valid (B, M), ignore (B, M).
        numbers: weights and options of the costs.
        classes: labels are less than that; objects with others are counted and not matched.
        share: whether targets that are left take the query that is cheapest for them.
    """
    leading, queries, count = logits.shape[:-2], logits.shape[-2], targets[0].shape[1]
    problems = leading.numel()
    query_of_target = torch.empty((*leading, count), dtype=torch.int64)
    target_of_query = torch.empty((*leading, queries), dtype=torch.int64)
    counts = np.zeros((problems, 4), np.int64)
    predictions = (
        logits.contiguous().numpy().reshape(problems, queries, logits.shape[-1]),
        boxes.contiguous().numpy().reshape(problems, queries, 4),
    )
    wanted = tuple(tensor.contiguous().numpy() for tensor in targets)
    written = (
        query_of_target.numpy().reshape(problems, count),
        target_of_query.numpy().reshape(problems, queries),
        counts,
    )
    share_rows(
        lambda part: _match_block(numbers, predictions, wanted, classes, share, written, part.start, part.stop),
        problems,
        1 + PAIRS_A_THREAD // max(queries * count, 1),
    )
    return query_of_target, target_of_query, counts.sum(0)


@njit(nogil=True, cache=True)
def _find_usable(labels, boxes, valid, ignore, classes, usable):
    """Mark objects of an image with a known class and a proper, finite box; how many have another class."""
    unknown = 0
    for t in range(len(labels)):
        x, y, width, height = boxes[t, 0], boxes[t, 1], boxes[t, 2], boxes[t, 3]
        is_object, known = valid[t] and not ignore[t], 0 <= labels[t] < classes
        finite = abs(x) < np.inf and abs(y) < np.inf and width < np.inf and height < np.inf
        usable[t] = is_object and known and finite and width >= 0 and height >= 0
        unknown += is_object and not known
    return unknown


@njit(nogil=True, cache=True, error_model="numpy")
def _match_block(numbers, predictions, wanted, classes, share, results, begin, end):
    (logits, boxes), (labels, target_boxes, valid, ignore) = predictions, wanted
    targets, queries = labels.shape[1], boxes.shape[1]
    total, columns = np.empty((targets, queries), np.float32), np.empty((8, queries), np.float32)
    rows, taken, bits = np.empty(targets, np.int64), np.empty(targets, np.int64), total.view(np.int32)
    usable = np.empty(targets, np.bool_)
    for p in range(begin, end):
        image = p % len(labels)
        query_of_target, target_of_query, counts = results[0][p], results[1][p], results[2][p]
        query_of_target[:], target_of_query[:] = -1, -1
        counts[UNKNOWN] = _find_usable(labels[image], target_boxes[image], valid[image], ignore[image], classes, usable)
        fill_costs(numbers, logits[p], boxes[p], (labels[image], target_boxes[image], usable), columns, total)
        counts[BROKEN] = assign_problem(total, bits, MARKS, usable, query_of_target, rows, taken)
        for t in range(targets):
            if query_of_target[t] >= 0:
                target_of_query[query_of_target[t]] = t
                counts[MATCHED] += 1
        counts[SURPLUS] = max(usable.sum() - queries, 0)
        if share:
            _share(total, usable, query_of_target)


@njit(nogil=True, cache=True)
def _share(total, usable, query_of_target):
    for t in range(len(usable)):
        if usable[t] and query_of_target[t] < 0:
            least = np.float32(np.inf)
            for q in range(total.shape[1]):
                if -np.inf < total[t, q] < least:
                    query_of_target[t], least = q, total[t, q]

"""Set matching on the CPU in one go: costs of an image, solved while they are still near, and who got whom."""

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .linear_assignment_cpu import assign_problem
from .matching_cost_cpu import Numbers, fill_costs
from .threads_cpu import share_rows

MARKS = np.float32(np.inf).view(np.int32), np.int32(2**31 - 1)
PAIRS_A_THREAD = 2**16
"""Fewer are done before a thread has started."""
MATCHED, SURPLUS, BROKEN = 0, 1, 2


def match_problems(
    logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor, usable: Tensor, numbers: Numbers, share: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Query of each target ``(..., B, M)``, target of each query ``(..., B, Q)``, and counts of all problems ``(3,)``.

    The images are shared by as many threads as torch uses; the kernel lets go of the interpreter meanwhile.

    Args:
        logits: (..., B, Q, C) float32.
        boxes: (..., B, Q, 4) cxcywh, float32.
        labels: (B, M), in range where usable.
        target_boxes: (B, M, 4) cxcywh, float32.
        usable: (B, M).
        numbers: weights and options of the costs.
        share: whether targets that are left take the query that is cheapest for them.
    """
    leading, (queries, targets) = logits.shape[:-2], (logits.shape[-2], labels.shape[1])
    query_of_target, target_of_query = torch.full((*leading, targets), -1), torch.full((*leading, queries), -1)
    counts = torch.zeros((leading.numel(), 3), dtype=torch.int64)
    predictions = tuple(tensor.contiguous().flatten(0, -3).numpy() for tensor in (logits, boxes))
    wanted = tuple(tensor.contiguous().numpy() for tensor in (labels, target_boxes, usable))
    results = query_of_target.flatten(0, -2), target_of_query.flatten(0, -2), counts
    written = tuple(tensor.numpy() for tensor in results)
    share_rows(
        lambda part: _match_block(numbers, predictions, wanted, share, written, part.start, part.stop),
        len(counts),
        1 + PAIRS_A_THREAD // max(queries * targets, 1),
    )
    return query_of_target, target_of_query, counts.sum(0)


@njit(nogil=True, cache=True)
def find_usable(labels, boxes, valid, ignore, usable, classes):
    """Mark objects with a proper, finite box ``(B, M, 4)``; whether the labels of all objects are in range."""
    known = True
    for b in range(labels.shape[0]):
        for t in range(labels.shape[1]):
            x, y, width, height = boxes[b, t, 0], boxes[b, t, 1], boxes[b, t, 2], boxes[b, t, 3]
            is_object = valid[b, t] and not ignore[b, t]
            known = known and (not is_object or 0 <= labels[b, t] < classes)
            finite = abs(x) < np.inf and abs(y) < np.inf and width < np.inf and height < np.inf
            usable[b, t] = is_object and finite and width >= 0 and height >= 0
    return known


@njit(nogil=True, cache=True, error_model="numpy")
def _match_block(numbers, predictions, wanted, share, results, begin, end):
    (logits, boxes), (labels, target_boxes, usable) = predictions, wanted
    targets, queries = labels.shape[1], boxes.shape[1]
    total, columns = np.empty((targets, queries), np.float32), np.empty((8, queries), np.float32)
    rows, taken, bits = np.empty(targets, np.int64), np.empty(targets, np.int64), total.view(np.int32)
    for p in range(begin, end):
        image = p % len(labels)
        query_of_target, target_of_query, counts = results[0][p], results[1][p], results[2][p]
        fill_costs(numbers, logits[p], boxes[p], (labels[image], target_boxes[image], usable[image]), columns, total)
        counts[BROKEN] = assign_problem(total, bits, MARKS, usable[image], query_of_target, rows, taken)
        for t in range(targets):
            if query_of_target[t] >= 0:
                target_of_query[query_of_target[t]] = t
                counts[MATCHED] += 1
        counts[SURPLUS] = max(usable[image].sum() - queries, 0)
        if share:
            _share(total, usable[image], query_of_target)


@njit(nogil=True, cache=True)
def _share(total, usable, query_of_target):
    for t in range(len(usable)):
        if usable[t] and query_of_target[t] < 0:
            least = np.float32(np.inf)
            for q in range(total.shape[1]):
                if -np.inf < total[t, q] < least:
                    query_of_target[t], least = q, total[t, q]

"""What matching costs, and the cheapest matching, by trying all: one image at a time, float64, with loops."""

import itertools

import numpy as np

from .boxes import giou_penalty, iou
from .common import log_softmax, sigmoid


def costs(logits, boxes, labels, target_boxes, *, kind="softmax", alpha=0.25, gamma=2.0):
    """Class, L1 and minus GIoU of (Q, C) logits and (Q, 4) boxes with (M,) labels and (M, 4) boxes: (Q, M) each."""
    shape = len(boxes), len(labels)
    classes, l1, giou = np.empty(shape), np.empty(shape), np.empty(shape)
    probability = np.exp(log_softmax(logits, 1)) if kind == "softmax" else sigmoid(logits)
    for q, t in np.ndindex(*shape):
        p = probability[q, labels[t]]
        classes[q, t] = -p if kind == "softmax" else focal(logits[q, labels[t]], p, alpha, gamma)
        l1[q, t] = sum(abs(own - other) for own, other in zip(boxes[q], target_boxes[t], strict=True))
        pair = corners(boxes[q]), corners(target_boxes[t])
        giou[q, t] = giou_penalty(*pair) - iou(*pair)
    return classes, l1, giou


def focal(x, p, alpha, gamma):
    """Loss as a positive less that as a negative."""
    positive = alpha * (1 - p) ** gamma * np.logaddexp(0, -x)
    return positive - (1 - alpha) * p**gamma * np.logaddexp(0, x)


def corners(box):
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def best_sum(cost, usable):
    """Of (M, Q) costs: how many usable rows can have a finite column each, and the least sum of that many."""
    rows = np.flatnonzero(usable)
    for count in range(min(len(rows), cost.shape[1]), 0, -1):
        sums = [
            sum(float(cost[pair]) for pair in zip(some, columns, strict=True))
            for some in itertools.combinations(rows, count)
            for columns in itertools.permutations(range(cost.shape[1]), count)
        ]
        finite = [value for value in sums if np.isfinite(value)]
        if finite:
            return count, min(finite)
    return 0, 0.0

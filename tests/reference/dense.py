"""The terms of a dense detector's criterion, point by point in plain Python."""

import math

import numpy as np


def task_aligned_terms(
    logits, sides, points, strides, assignment, boxes, weights, *, class_term, box_term, scores, box_weights=True
):
    """Sums of the class terms and of the box terms before weights and divisor, and the sum of the scores.

    ``class_term(x, t, is_label)`` and ``box_term(box, target)`` are losses of one element and of one box.
    """
    sums = {"class_positive": 0.0, "class_negative": 0.0, "box": 0.0, "dfl": 0.0}
    bins = sides.shape[-1] // 4
    for image in range(len(logits)):
        for point in range(len(points)):
            if assignment.ignore[image, point]:
                continue
            target = assignment.target_index[image, point]
            label = assignment.labels[image, point]
            score = scores[image, point] if target >= 0 else 0.0
            row = sum(
                class_term(x, score if label == number else 0.0, label == number)
                for number, x in enumerate(logits[image, point])
            )
            if target < 0:
                sums["class_negative"] += row
                continue
            weight = weights[image, target]
            sums["class_positive"] += weight * row
            distributions = [softmax(side) for side in sides[image, point].reshape(4, bins)]
            distances = [sum(place * p for place, p in enumerate(side)) for side in distributions]
            x, y, stride = *points[point], strides[point]
            left, top, right, bottom = (distance * stride for distance in distances)
            wanted = boxes[image, target]
            factor = weight * (score if box_weights else 1.0)
            sums["box"] += factor * box_term((x - left, y - top, x + right, y + bottom), wanted)
            cells = np.array([x - wanted[0], y - wanted[1], wanted[2] - x, wanted[3] - y]) / stride
            sums["dfl"] += factor * np.mean([two_bins(p, t) for p, t in zip(distributions, cells, strict=True)])
    return sums, float(scores[assignment.target_index >= 0].sum())


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def two_bins(p, target):
    target = min(max(target, 0.0), len(p) - 1.01)
    left = math.floor(target)
    return -(left + 1 - target) * math.log(p[left]) - (target - left) * math.log(p[left + 1])


def bce(x, t, _is_label):
    return math.log1p(math.exp(x)) - t * x


def quality_focal(x, t, is_label):
    return abs(t - 1 / (1 + math.exp(-x))) ** 2 * bce(x, t, is_label)


def varifocal(x, t, is_label):
    """PP-YOLOE's: weight t at the label, 0.75 p² elsewhere."""
    return bce(x, t, is_label) * (t if is_label else 0.75 / (1 + math.exp(-x)) ** 2)


def giou(box, target):
    intersection, union, hull = areas(box, target)
    return 1 - (intersection / union - (hull - union) / hull)


def ciou(box, target):
    intersection, union, _ = areas(box, target)
    iou = intersection / union
    width = max(box[2], target[2]) - min(box[0], target[0])
    height = max(box[3], target[3]) - min(box[1], target[1])
    distance = ((box[0] + box[2] - target[0] - target[2]) ** 2 + (box[1] + box[3] - target[1] - target[3]) ** 2) / 4
    v = (2 / math.pi * (angle(target) - angle(box))) ** 2
    return 1 - iou + distance / (width**2 + height**2) + v * v / (1 - iou + v)


def angle(box):
    return math.atan2(box[2] - box[0], box[3] - box[1])


def areas(box, target):
    intersection = max(0, min(box[2], target[2]) - max(box[0], target[0])) * max(
        0, min(box[3], target[3]) - max(box[1], target[1])
    )
    sizes = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, target)]
    hull = (max(box[2], target[2]) - min(box[0], target[0])) * (max(box[3], target[3]) - min(box[1], target[1]))
    return intersection, sum(sizes) - intersection, hull

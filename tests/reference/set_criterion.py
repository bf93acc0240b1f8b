"""Set prediction in full, image by image, pair by pair and pixel by pixel; matched by scipy."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from .boxes import giou_penalty, iou
from .common import log_softmax, sigmoid

TERMS = ("class", "l1", "giou", "mask", "dice")


class Rule(NamedTuple):
    """What a criterion is made of."""

    element: Any = None
    """Loss (x, t, is_label) of one sigmoid logit; None for softmax with no object."""
    soft: bool = False
    """Whether the IoU is the class target of a matched query."""
    weights: tuple[float, ...] = (1.0, 5.0, 2.0, 1.0, 1.0)
    costs: tuple[float, float, float] = (1.0, 5.0, 2.0)
    no_object: float = 0.1
    gamma: float = 0.0
    """Of a softmax focal loss."""


class Layer(NamedTuple):
    """Predictions (B, Q, .) with what is said about them."""

    logits: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray | None = None
    known: np.ndarray | None = None
    """(B, Q) targets, -1 none; else they are matched."""
    counted: np.ndarray | None = None
    copies: int = 1
    groups: int = 1
    weight: float = 1.0
    images: Any = None
    """Its own ones."""


def criterion(layers, images, rule):
    """Terms by name and the stats of the first layer."""
    terms = {}
    for suffix, layer in layers.items():
        own = images if layer.images is None else layer.images
        sums = [set_sums(part, own, rule) for part in split(layer)]
        objects = sum(int((~image["ignore"]).sum()) for image in own)
        number = max(objects, 1) * layer.copies * layer.groups
        total = sum(part["class_total"] for part in sums)
        for name, weight in zip(TERMS, rule.weights, strict=True):
            if name in ("mask", "dice") and layer.masks is None:
                continue
            divisor = (total or 1.0) if name == "class" and rule.element is None else number
            terms[name + suffix] = layer.weight * weight * sum(part[name] for part in sums) / divisor
    first = next(iter(layers.values()))
    own = images if first.images is None else first.images
    return terms, stats(next(split(first)), own, rule)


def split(layer):
    """Its groups."""
    size = layer.logits.shape[1] // layer.groups
    for start in range(0, layer.logits.shape[1], max(size, 1)):
        part = slice(start, start + size)
        masks = None if layer.masks is None else layer.masks[:, part]
        yield layer._replace(logits=layer.logits[:, part], boxes=layer.boxes[:, part], masks=masks)


def set_sums(layer, images, rule):
    sums = dict.fromkeys((*TERMS, "class_total"), 0.0)
    for b, image in enumerate(images):
        pairs = matches(layer, b, image, rule)
        for q, logits in enumerate(layer.logits[b]):
            if (layer.counted is not None and not layer.counted[b, q]) or on_crowd(layer, b, q, image, pairs):
                continue
            t = pairs.get(q)
            loss, share = class_loss(logits, layer.boxes[b, q], image, t, rule)
            sums["class"] += loss * (1.0 if t is None else image["weights"][t])
            sums["class_total"] += share
        for q, t in pairs.items():
            if layer.counted is not None and not layer.counted[b, q]:
                continue
            box, wanted, weight = layer.boxes[b, q], image["boxes"][t], image["weights"][t]
            sums["l1"] += weight * np.abs(box - wanted).sum()
            sums["giou"] += weight * (1 - giou(box, wanted))
            if layer.masks is not None:
                focal, dice = mask_losses(layer.masks[b, q], image["masks"][t], largest(images))
                sums["mask"] += weight * focal
                sums["dice"] += weight * dice
    return sums


def matches(layer, b, image, rule):
    """Query -> target."""
    usable = np.flatnonzero(~image["ignore"])
    if layer.known is not None:
        count = len(image["ignore"])
        pairs = {q: t % count for q, t in enumerate(layer.known[b]) if 0 <= t < layer.copies * count}
        return {q: t for q, t in pairs.items() if t in usable}
    usable = np.tile(usable, layer.copies)
    cost = np.array([[pair_cost(layer, b, q, image, t, rule) for q in range(layer.logits.shape[1])] for t in usable])
    if not len(usable):
        return {}
    return {q: usable[row] for row, q in zip(*linear_sum_assignment(cost), strict=True)}


def pair_cost(layer, b, q, image, t, rule):
    logits, box, wanted, label = layer.logits[b, q], layer.boxes[b, q], image["boxes"][t], image["labels"][t]
    if rule.element is None:
        cost = -math.exp(log_softmax(logits, 0)[label])
    else:
        p = sigmoid(logits[label])
        cost = -0.25 * (1 - p) ** 2 * math.log(p) + 0.75 * p**2 * math.log(1 - p)
    parts = (cost, np.abs(box - wanted).sum(), -giou(box, wanted))
    return sum(weight * part for weight, part in zip(rule.costs, parts, strict=True))


def class_loss(logits, box, image, t, rule):
    """Of one query, and its class's weight in the divisor."""
    label = -1 if t is None else image["labels"][t]
    if rule.element is None:
        share = rule.no_object if t is None else 1.0
        log_p = log_softmax(logits, 0)[label]  # -1 is no object, the last one
        return -share * (1 - math.exp(log_p)) ** rule.gamma * log_p, share
    target = 0.0 if t is None else iou(corners(box), corners(image["boxes"][t])) if rule.soft else 1.0
    return sum(rule.element(x, target if c == label else 0.0, c == label) for c, x in enumerate(logits)), 1.0


def on_crowd(layer, b, q, image, pairs):
    """Whether an unmatched query lies by half on one region."""
    x1, y1, x2, y2 = corners(layer.boxes[b, q])
    shares = []
    for region in image["boxes"][image["ignore"]]:
        u1, v1, u2, v2 = corners(region)
        across, down = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
        shares.append(max(across, 0) * max(down, 0) / ((x2 - x1) * (y2 - y1)))
    return q not in pairs and max(shares, default=0) >= 0.5


def corners(box):
    x, y, width, height = box
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def giou(box, other):
    return iou(corners(box), corners(other)) - giou_penalty(corners(box), corners(other))


def largest(images):
    """To this size the masks of all images are padded."""
    return tuple(max(image["masks"].shape[axis] for image in images) for axis in (1, 2))


def mask_losses(small, mask, size):
    """Focal and Dice over the pixels of the mask; the logits lie on the padded image."""
    focal, overlap, both = [], 0.0, 0.0
    down, across = (shares(n, large) for n, large in zip(small.shape, size, strict=True))
    for (i, j), t in np.ndenumerate(mask):
        x = down[i] @ small @ across[j]
        p, hit = sigmoid(x), sigmoid(x if t else -x)
        focal.append((0.25 if t else 0.75) * (1 - hit) ** 2 * -math.log(hit))
        overlap, both = overlap + p * t, both + p + t
    return np.mean(focal), 1 - (2 * overlap + 1) / (both + 1)


def shares(small, large):
    """(large, small): what each cell has of each pixel, linearly between the cells' centres."""
    place = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(small)), 0)


def stats(layer, images, rule):
    """Of one layer."""
    wrong, apart, overlaps, ignored, surplus = [], [], [], 0, 0
    for b, image in enumerate(images):
        pairs = matches(layer, b, image, rule)
        objects = int((~image["ignore"]).sum())
        best = layer.logits[b].argmax(-1)
        no_object = layer.logits.shape[-1] - 1
        found = (best != no_object) if rule.element is None else (layer.logits[b].max(-1) > 0)
        apart.append(abs(int(found.sum()) - objects))
        surplus += max(objects - layer.logits.shape[1], 0)
        for q, t in pairs.items():
            wrong.append(best[q] != image["labels"][t])
            overlaps.append(iou(corners(layer.boxes[b, q]), corners(image["boxes"][t])))
        ignored += sum(on_crowd(layer, b, q, image, pairs) for q in range(len(best)))
    return {
        "cardinality_error": np.mean(apart),
        "class_error": 100 * np.mean(wrong) if wrong else 0.0,
        "targets": sum(int((~image["ignore"]).sum()) for image in images),
        "surplus": surplus,
        "matched": len(overlaps),
        "ignored": ignored,
        "mean_iou": np.mean(overlaps) if overlaps else 0.0,
        "broken": 0,
    }

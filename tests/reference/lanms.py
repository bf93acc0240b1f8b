"""Locality-aware merging and suppression of one image, candidate by candidate, with Shapely's polygons."""

import itertools

import numpy as np
from shapely.geometry import Polygon


def iou(quad, other):
    first, second = Polygon(quad), Polygon(other)
    shared = first.intersection(second).area
    return shared / (first.area + second.area - shared)


def in_the_closest_turn(quad, other):
    """The corners of `other` from that one on from which they are closest to those of `quad`."""
    turns = [np.concatenate([other[k:], other[:k]]) for k in range(4)]
    return min(turns, key=lambda turn: ((turn - quad) ** 2).sum())


def merged_in_order(quads, scores, threshold, components=None):
    """Lists [quad, sum of scores, number]. With components, the candidate goes to the nearest of its own."""
    merged = []
    for index, (quad, score) in enumerate(zip(quads, scores, strict=True)):
        component = 0 if components is None else components[index]
        rivals = merged[-1:] if components is None else [one for one in merged if one[3] == component]
        best = max(rivals, key=lambda one: iou(one[0], quad), default=None)
        if best is not None and iou(best[0], quad) > threshold:
            turned = in_the_closest_turn(best[0], quad)
            best[0] = (best[1] * best[0] + score * turned) / (best[1] + score)
            best[1] += score
            best[2] += 1
        else:
            merged.append([np.array(quad, dtype=float), score, 1, component])
    return merged


def locality_aware_nms(quads, scores, *, threshold, nms_threshold, components=None):
    """Quads and their mean scores, the best first."""
    merged = sorted(merged_in_order(quads, scores, threshold, components), key=lambda one: -one[1])
    kept = []
    for one in merged:
        if all(iou(other[0], one[0]) <= nms_threshold for other in kept):
            kept.append(one)
    kept.sort(key=lambda one: -one[1] / one[2])
    quads = np.array([one[0] for one in kept]).reshape(-1, 4, 2)
    return quads, np.array([one[1] / one[2] for one in kept])


def closest_corners(quad, other):
    """The greatest distance of corners in the best cyclic order."""
    turns = (np.abs(np.roll(other, k, axis=0) - quad).max() for k in range(4))
    return min(turns)


def is_same_set(quads, others, tolerance):
    """Whether each quad has its own partner."""
    return len(quads) == len(others) and any(
        all(closest_corners(quad, others[k]) <= tolerance for quad, k in zip(quads, order, strict=True))
        for order in itertools.permutations(range(len(others)))
    )

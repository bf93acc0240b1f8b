"""Suppression of one image, box by box. Overlaps come in as a matrix."""

import numpy as np


def greedy(overlap, scores, labels, usable, threshold):
    """Indices kept, the best first."""
    order = sorted(np.flatnonzero(usable), key=lambda i: (-scores[i], i))
    kept = []
    for i in order:
        if not any(labels[i] == labels[k] and overlap[k, i] > threshold for k in kept):
            kept.append(i)
    return kept


def soft(overlap, scores, labels, usable, *, method, sigma, threshold, score_threshold):
    """New scores, 0 for what is dropped."""
    scores, left, out = scores.copy(), set(np.flatnonzero(usable)), np.zeros(len(scores))
    while left:
        best = sorted(left, key=lambda i: (-scores[i], i))[0]
        left.remove(best)
        if not scores[best] > score_threshold:
            break
        out[best] = scores[best]
        for i in left:
            if labels[i] != labels[best]:
                continue
            value = overlap[best, i]
            if method == "gaussian":
                scores[i] *= np.exp(-(value**2) / sigma)
            elif value > threshold:
                scores[i] *= 1 - value
    return out

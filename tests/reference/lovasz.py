"""The Lovász losses, by sets of wrong pixels."""

import numpy as np

from .common import class_targets, log_softmax


def jaccard_loss(wrong, foreground):
    """1 - IoU if the pixels ``wrong``, a set, were predicted wrongly and all others rightly."""
    return len(wrong) / len(wrong | foreground) if wrong else 0.0


def extension(errors, foreground):
    """Sum of the errors, the largest first, each times what its pixel adds to the loss of those before it."""
    members = set(np.flatnonzero(foreground))
    wrong, total = set(), 0.0
    for pixel in np.argsort(-errors, kind="stable"):
        total += errors[pixel] * (jaccard_loss(wrong | {pixel}, members) - jaccard_loss(wrong, members))
        wrong.add(pixel)
    return total


def groups(size, per_image):
    """Which images are sorted together."""
    return [[image] for image in range(size)] if per_image else [list(range(size))]


def lovasz_softmax_loss(
    logits, targets, mask=None, *, classes="present", per_image=False, class_weights=None, ignore_index=-100
):
    one_hot, valid = class_targets(logits, targets, mask, ignore_index)
    probs = np.exp(log_softmax(logits, 1))
    factor = np.ones(logits.shape[1]) if class_weights is None else class_weights
    losses, divisor = [], 0.0
    for images in groups(len(logits), per_image):
        keep = valid[images]
        for c, weight in enumerate(factor):
            p, t = probs[images, c][keep], one_hot[images, c][keep]
            counts = t.any() if classes == "present" else t.size > 0
            losses.append(weight * extension(np.abs(p - t), t) if counts else 0.0)
            divisor += weight * counts
    return np.reshape(losses, (-1, logits.shape[1])), divisor


def lovasz_hinge_loss(logits, targets, mask=None, *, per_image=False, ignore_index=-100):
    valid = np.ones(logits.shape, dtype=bool) if mask is None else mask
    if ignore_index is not None:
        valid = valid & (targets != ignore_index)
    losses, divisor = [], 0.0
    for images in groups(len(logits), per_image):
        keep = valid[images]
        x, t = logits[images][keep], targets[images][keep]
        losses.append(extension(np.maximum(0, 1 - x * (2 * t - 1)), t == 1))
        divisor += t.size > 0
    return np.array(losses), divisor

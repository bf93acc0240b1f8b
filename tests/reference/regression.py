"""Losses of numbers."""

import numpy as np

from .common import elementwise, log_softmax


def l1_loss(predictions, targets, mask=None, weights=None):
    return elementwise(np.abs(predictions - targets), mask, weights)


def l2_loss(predictions, targets, mask=None, weights=None):
    return elementwise((predictions - targets) ** 2, mask, weights)


def smooth_l1_loss(predictions, targets, mask=None, weights=None, *, beta=1.0):
    d = np.abs(predictions - targets)
    if beta == 0:
        return elementwise(d, mask, weights)
    return elementwise(np.where(d < beta, d**2 / (2 * beta), d - beta / 2), mask, weights)


def balanced_l1_loss(predictions, targets, mask=None, weights=None, *, alpha=0.5, gamma=1.5, beta=1.0):
    u = np.abs(predictions - targets) / beta
    b = np.exp(gamma / alpha) - 1
    near = alpha / b * (b * u + 1) * np.log(b * u + 1) - alpha * u
    return elementwise(beta * np.where(u < 1, near, gamma * u + gamma / b - alpha), mask, weights)


def distribution_focal_loss(logits, targets, mask=None, weights=None):
    """Cross entropy with the two neighbours of the target, a bin at a time."""
    bins = np.arange(logits.shape[-1])
    t = np.clip(targets, 0, bins[-1])[..., None]
    split = np.maximum(0, 1 - np.abs(bins - t))  # the hat function: 1 on the target, 0 a bin away
    return elementwise(-(split * log_softmax(logits, -1)).sum(-1), mask, weights)

"""Cross entropy and its relatives."""

import numpy as np

from .common import binary_cross_entropy, binary_targets, class_targets, elementwise, log_softmax, sigmoid


def cross_entropy_loss(
    logits, targets, mask=None, weights=None, *, class_weights=None, label_smoothing=0.0, ignore_index=-100
):
    one_hot, valid = class_targets(logits, targets, mask, ignore_index)
    classes = logits.shape[1]
    factor = np.ones(classes) if class_weights is None else class_weights
    factor = factor.reshape(1, classes, *[1] * (logits.ndim - 2))
    smoothed = (1 - label_smoothing) * one_hot + label_smoothing / classes
    loss = -(factor * smoothed * log_softmax(logits, 1)).sum(1)
    loss, count = elementwise(loss, valid, weights)
    return loss, count if class_weights is None else float(((factor * one_hot).sum(1) * valid).sum())


def sigmoid_focal_loss(logits, targets, mask=None, weights=None, *, alpha=0.25, gamma=2.0, ignore_index=-100):
    t, valid = binary_targets(logits, targets, mask, ignore_index)
    p = sigmoid(logits)
    p_t = p * t + (1 - p) * (1 - t)
    alpha_t = 1.0 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return elementwise(alpha_t * (1 - p_t) ** gamma * binary_cross_entropy(logits, t), valid, weights)

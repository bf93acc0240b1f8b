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


def sigmoid_focal_loss(
    logits, targets, mask=None, weights=None, *, scores=None, alpha=0.25, gamma=2.0, ignore_index=-100
):
    t, valid = binary_targets(logits, targets, mask, ignore_index, scores)
    p = sigmoid(logits)
    p_t = p * t + (1 - p) * (1 - t)
    alpha_t = 1.0 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return elementwise(alpha_t * (1 - p_t) ** gamma * binary_cross_entropy(logits, t), valid, weights)


def binary_cross_entropy_loss(
    logits, targets, mask=None, weights=None, *, scores=None, pos_weight=None, label_smoothing=0.0, ignore_index=-100
):
    t, valid = binary_targets(logits, targets, mask, ignore_index, scores)
    t = (1 - label_smoothing) * t + label_smoothing * 0.5  # a share of the target becomes a coin toss
    w = 1.0 if pos_weight is None else pos_weight
    p = sigmoid(logits)
    return elementwise(-w * t * np.log(p) - (1 - t) * np.log(1 - p), valid, weights)


def balanced_binary_cross_entropy_loss(
    logits,
    targets,
    mask=None,
    weights=None,
    *,
    per_image=False,
    empty="penalize",
    sync=False,
    ignore_index=-100,
):
    t, valid = binary_targets(logits, targets, mask, ignore_index)
    p = sigmoid(logits)
    loss = np.zeros(logits.shape)
    groups = [slice(i, i + 1) for i in range(len(logits))] if per_image else [slice(None)]
    for group in groups:
        counted = t[group][valid[group]]
        missing = counted.size == 0 or counted.sum() in (0, counted.size)
        beta = 0.5 if missing and empty == "penalize" else 1 - (counted.mean() if counted.size else 0.0)
        loss[group] = -beta * t[group] * np.log(p[group]) - (1 - beta) * (1 - t[group]) * np.log(1 - p[group])
    return elementwise(loss, valid, weights)


def softmax_focal_loss(logits, targets, mask=None, weights=None, *, alpha=None, gamma=2.0, ignore_index=-100):
    t, valid = class_targets(logits, targets, mask, ignore_index)
    alpha = np.broadcast_to(1.0 if alpha is None else alpha, logits.shape[1])
    log_p = log_softmax(logits, 1)
    loss = np.zeros(valid.shape)
    for c in range(logits.shape[1]):
        loss += alpha[c] * t[:, c] * (1 - np.exp(log_p[:, c])) ** gamma * -log_p[:, c]
    return elementwise(loss, valid, weights)


def quality_focal_loss(logits, targets, mask=None, weights=None, *, scores=None, beta=2.0, ignore_index=-100):
    t, valid = binary_targets(logits, targets, mask, ignore_index, scores)
    return elementwise(np.abs(t - sigmoid(logits)) ** beta * binary_cross_entropy(logits, t), valid, weights)


def varifocal_loss(
    logits,
    targets,
    mask=None,
    weights=None,
    *,
    scores=None,
    alpha=0.75,
    gamma=2.0,
    positives="scores",
    detach=False,
    ignore_index=-100,
):
    t, valid = binary_targets(logits, targets, mask, ignore_index, scores)
    p = sigmoid(logits)
    hard, _ = binary_targets(logits, targets, mask, ignore_index)  # 1 at the label, whatever its score
    positive = t > 0 if positives == "scores" else hard == 1
    loss = np.empty(logits.shape)
    loss[positive] = (t * -(t * np.log(p) + (1 - t) * np.log(1 - p)))[positive]
    loss[~positive] = (-(1.0 if alpha is None else alpha) * p**gamma * np.log(1 - p))[~positive]
    return elementwise(loss, valid, weights)


def positives(logits, targets):
    """The labelled class, whatever its score, or a dense target above 0."""
    if targets.shape == logits.shape:
        return targets > 0
    return targets[..., None] == np.arange(logits.shape[-1])


def matchability_aware_loss(
    logits, targets, mask=None, weights=None, *, scores=None, alpha=None, gamma=1.5, detach=True, ignore_index=-100
):
    q, valid = binary_targets(logits, targets, mask, ignore_index, scores)
    p, positive = sigmoid(logits), positives(logits, targets)
    loss = np.empty(logits.shape)
    loss[positive] = (-(q**gamma) * np.log(p) - (1 - q**gamma) * np.log(1 - p))[positive]
    loss[~positive] = (-(1.0 if alpha is None else alpha) * p**gamma * np.log(1 - p))[~positive]
    return elementwise(loss, valid, weights)


def iou_aware_binary_cross_entropy_loss(
    logits,
    targets,
    mask=None,
    weights=None,
    *,
    scores=None,
    alpha=0.25,
    gamma=2.0,
    floor=0.01,
    ignore_index=-100,
):
    q, valid = binary_targets(logits, targets, mask, ignore_index, scores)
    p, positive = sigmoid(logits), positives(logits, targets)
    t = np.maximum(p**alpha * q ** (1 - alpha), floor)
    loss = np.empty(logits.shape)
    loss[positive] = (-t * np.log(p) - (1 - t) * np.log(1 - p))[positive]
    loss[~positive] = (-(p**gamma) * np.log(1 - p))[~positive]
    return elementwise(loss, valid, weights)


def poly1_cross_entropy_loss(logits, targets, mask=None, weights=None, *, epsilon=1.0, ignore_index=-100):
    t, valid = class_targets(logits, targets, mask, ignore_index)
    log_p = log_softmax(logits, 1)
    return elementwise((t * (-log_p + epsilon * (1 - np.exp(log_p)))).sum(1), valid, weights)


def asymmetric_loss(
    logits,
    targets,
    mask=None,
    weights=None,
    *,
    gamma_negative=4.0,
    gamma_positive=1.0,
    clip=0.05,
    detach=False,
    ignore_index=-100,
):
    t, valid = binary_targets(logits, targets, mask, ignore_index)
    p = sigmoid(logits)
    p_m = np.maximum(p - (0.0 if clip is None else clip), 0)
    positive = (1 - p) ** gamma_positive * np.log(p)
    negative = p_m**gamma_negative * np.log(1 - p_m)
    return elementwise(-t * positive - (1 - t) * negative, valid, weights)


def ohem_cross_entropy_loss(
    logits, targets, mask=None, weights=None, *, threshold=0.7, min_kept=0.0625, ignore_index=-100
):
    t, valid = class_targets(logits, targets, mask, ignore_index)
    log_p = (t * log_softmax(logits, 1)).sum(1)
    candidates = sorted((log_p[index], index) for index in np.ndindex(*valid.shape) if valid[index])  # hardest first
    if isinstance(min_kept, float):
        min_kept = max(round(min_kept * len(candidates)), 1 if min_kept > 0 else 0)
    kept = np.zeros(valid.shape, dtype=bool)
    for rank, (log_prob, index) in enumerate(candidates):
        kept[index] = rank < min_kept or (threshold is not None and np.exp(log_prob) < threshold)
    return elementwise(-log_p, kept, weights)

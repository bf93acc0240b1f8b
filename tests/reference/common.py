"""What the references share: activations, targets written out, mask and weights."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_softmax(logits: Array, axis: int) -> Array:
    shifted = logits - logits.max(axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def sigmoid(logits: Array) -> Array:
    return np.where(
        logits >= 0, 1 / (1 + np.exp(-np.abs(logits))), np.exp(-np.abs(logits)) / (1 + np.exp(-np.abs(logits)))
    )


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    """-t log p - (1 - t) log(1 - p) in the form that never takes the log of 0."""
    return np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))


def elementwise(loss: Array, valid: Array | None, weights: Array | None) -> tuple[Array, float]:
    """Apply mask and weights; the mean divides by the valid count."""
    valid = np.ones(loss.shape, dtype=bool) if valid is None else np.broadcast_to(valid, loss.shape)
    if weights is not None:
        loss = loss * weights
    return np.where(valid, loss, 0.0), float(valid.sum())


def class_targets(logits: Array, targets: Array, mask: Array | None, ignore_index: int | None) -> tuple[Array, Array]:
    """One-hot (N, C, *) targets and the (N, *) elements that count; here memory does not matter."""
    classes = logits.shape[1]
    valid = np.ones(logits[:, 0].shape, dtype=bool) if mask is None else np.broadcast_to(mask, logits[:, 0].shape)
    if targets.shape == logits.shape:
        return targets.astype(np.float64), valid
    if ignore_index is not None:
        valid = valid & (targets != ignore_index)
    safe = np.where(valid, targets, 0)
    return np.moveaxis(np.eye(classes)[safe], -1, 1), valid


def binary_targets(
    logits: Array, targets: Array, mask: Array | None, ignore_index: int | None, scores: Array | None = None
) -> tuple[Array, Array]:
    """Dense targets and the elements that count, from dense targets or from labels with -1 for background."""
    valid = np.ones(logits.shape, dtype=bool) if mask is None else np.broadcast_to(mask, logits.shape)
    if targets.shape == logits.shape:
        return targets.astype(np.float64), valid
    dense = np.zeros(logits.shape)
    for index, label in np.ndenumerate(targets):
        if label == ignore_index:
            valid = valid.copy()
            valid[index] = False
        elif label >= 0:
            dense[(*index, label)] = 1.0 if scores is None else scores[index]
    return dense, valid

"""Boundary losses, with distances by looking at all pairs of pixels."""

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from .common import class_targets, elementwise, log_softmax, sigmoid


def nearest(inside, spacing):
    """Distance of each pixel to the nearest pixel inside."""
    pixels = np.argwhere(np.ones(inside.shape)) * spacing
    distances = np.linalg.norm(pixels[:, None] - pixels[inside.ravel()][None], axis=-1)
    return distances.min(1).reshape(inside.shape)


def to_boundary(inside, spacing=None):
    """Distance to the other side of the boundary, 0 without a boundary."""
    spacing = np.ones(inside.ndim) if spacing is None else np.array(spacing)
    if inside.all() or not inside.any():
        return np.zeros(inside.shape)
    return np.where(inside, nearest(~inside, spacing), nearest(inside, spacing))


def signed(inside, spacing=None):
    step = 1.0 if spacing is None else min(spacing)
    distances = to_boundary(inside, spacing)
    return np.where(inside & (distances > 0), step - distances, distances)


def each_map(function, maps, *options):
    """Apply to each (*) of (N, C, *)."""
    return np.array([[function(one, *options) for one in image] for image in maps])


def softmax_maps(logits, targets, mask, classes, ignore_index):
    t, valid = class_targets(logits, targets, mask, ignore_index)
    chosen = list(range(logits.shape[1]) if classes is None else classes)
    inside = valid[:, None]
    return np.exp(log_softmax(logits, 1))[:, chosen] * inside, t[:, chosen] * inside, valid


def sigmoid_maps(logits, targets, mask, ignore_index, class_dim):
    valid = np.ones(logits.shape, dtype=bool) if mask is None else mask
    t = targets
    if targets.shape != logits.shape:
        valid = valid & (targets != ignore_index)[:, None]
        t = np.stack([targets == index for index in range(logits.shape[1])], 1)
    maps = sigmoid(logits) * valid, t * valid, valid
    return tuple(one[:, None] for one in maps) if class_dim is None else maps


def boundary_loss(
    logits,
    targets,
    mask=None,
    weights=None,
    *,
    distance_maps=None,
    classes=None,
    spacing=None,
    ignore_index=-100,
):
    p, t, valid = softmax_maps(logits, targets, mask, classes, ignore_index)
    phi = each_map(signed, t > 0.5, spacing) if distance_maps is None else distance_maps
    phi = phi[:, list(classes)] if distance_maps is not None and classes is not None else phi
    return elementwise((p * phi).mean(1), valid, weights)


def sigmoid_boundary_loss(logits, targets, mask=None, weights=None, *, spacing=None, ignore_index=-100, class_dim=1):
    p, t, valid = sigmoid_maps(logits, targets, mask, ignore_index, class_dim)
    loss = (p * each_map(signed, t > 0.5, spacing)).reshape(logits.shape)
    return elementwise(loss, valid.reshape(logits.shape), weights)


def hausdorff_errors(p, t, alpha):
    return (p - t) ** 2 * (each_map(to_boundary, p > 0.5) ** alpha + each_map(to_boundary, t > 0.5) ** alpha)


def hausdorff_loss(logits, targets, mask=None, weights=None, *, alpha=2.0, classes=None, ignore_index=-100):
    p, t, valid = softmax_maps(logits, targets, mask, classes, ignore_index)
    return elementwise(hausdorff_errors(p, t, alpha).mean(1), valid, weights)


def sigmoid_hausdorff_loss(logits, targets, mask=None, weights=None, *, alpha=2.0, ignore_index=-100, class_dim=1):
    p, t, valid = sigmoid_maps(logits, targets, mask, ignore_index, class_dim)
    loss = hausdorff_errors(p, t, alpha).reshape(logits.shape)
    return elementwise(loss, valid.reshape(logits.shape), weights)


def erode(values):
    """Minimum over the pixel and its neighbours along the axes."""
    cross = sum(np.indices([3] * values.ndim) != 1) <= 1
    return minimum_filter(values, footprint=cross, mode="constant", cval=np.inf)


def opened(values):
    return maximum_filter(erode(values), size=3, mode="constant", cval=-np.inf)


def skeleton(values, iterations):
    found = np.maximum(values - opened(values), 0)
    for _ in range(iterations):
        values = erode(values)
        ridge = np.maximum(values - opened(values), 0)
        found = found + np.maximum(ridge - found * ridge, 0)
    return found


def cldice(p, t, valid, iterations, smooth):
    losses, counts = np.zeros(p.shape[:2]), np.zeros(p.shape[:2], dtype=bool)
    for index in np.ndindex(*p.shape[:2]):
        counts[index] = valid[index].any()
        lines_p, lines_t = skeleton(p[index], iterations), skeleton(t[index], iterations)
        precision = ((lines_p * t[index]).sum() + smooth) / (lines_p.sum() + smooth)
        sensitivity = ((lines_t * p[index]).sum() + smooth) / (lines_t.sum() + smooth)
        losses[index] = 1 - 2 * precision * sensitivity / (precision + sensitivity)
    return elementwise(losses, counts, None)


def soft_cldice_loss(logits, targets, mask=None, *, iterations=3, smooth=1.0, classes=None, ignore_index=-100):
    p, t, valid = softmax_maps(logits, targets, mask, classes, ignore_index)
    return cldice(p, t, np.broadcast_to(valid[:, None], p.shape), iterations, smooth)


def sigmoid_soft_cldice_loss(logits, targets, mask=None, *, iterations=3, smooth=1.0, ignore_index=-100, class_dim=1):
    p, t, valid = sigmoid_maps(logits, targets, mask, ignore_index, class_dim)
    return cldice(p, t.astype(float), valid, iterations, smooth)

"""Region overlap: every sum taken in a loop over images and classes."""

import numpy as np

from .common import class_targets, log_softmax, sigmoid


def softmax_maps(logits, targets, mask, weights, ignore_index):
    """Probabilities, one-hot targets and the factor of each element, all (N, C, P)."""
    one_hot, valid = class_targets(logits, targets, mask, ignore_index)
    factor = valid * (1.0 if weights is None else weights)
    factor = np.broadcast_to(factor[:, None], logits.shape)
    return flat(np.exp(log_softmax(logits, 1))), flat(one_hot), flat(factor)


def sigmoid_maps(logits, targets, mask, weights, ignore_index):
    dense, valid = np.zeros(logits.shape), np.ones(logits.shape, dtype=bool)
    if targets.shape == logits.shape:
        dense = targets.astype(np.float64)
    else:
        for (image, *place), label in np.ndenumerate(targets):
            if label == ignore_index:
                valid[(image, slice(None), *place)] = False
            elif label >= 0:
                dense[(image, label, *place)] = 1
    factor = valid * (1.0 if mask is None else mask) * (1.0 if weights is None else weights)
    return flat(sigmoid(logits)), flat(dense), flat(np.broadcast_to(factor, logits.shape))


def flat(values):
    return values.reshape(*values.shape[:2], -1)


def sums(maps, form, per_image):
    """(N, C) overlap, predicted, actual, area; N = 1 for the whole batch."""
    probs, targets, factor = maps
    out = np.zeros((4, *probs.shape[:2]))
    for image in range(probs.shape[0]):
        for cls in range(probs.shape[1]):
            p, t, f = probs[image, cls], targets[image, cls], factor[image, cls]
            overlap = np.minimum(p, t) if form == "min" else p * t
            p, t = (p**2, t**2) if form == "squared" else (p, t)
            out[:, image, cls] = (f * overlap).sum(), (f * p).sum(), (f * t).sum(), f.sum()
    return out if per_image else out.sum(1, keepdims=True)


def finish(one_loss, maps, *, empty, form="linear", per_image=True, class_weights=None):
    """The formula for each image and class, with absent classes as `empty` says."""
    overlap, predicted, actual, area = sums(maps, form, per_image)
    loss, counts = np.zeros(overlap.shape), np.zeros(overlap.shape)
    for index in np.ndindex(overlap.shape):
        if area[index] == 0:
            continue
        if actual[index] > 0 or empty == "keep":
            loss[index], counts[index] = one_loss(overlap[index], predicted[index], actual[index]), 1
        elif empty == "penalize":
            loss[index], counts[index] = predicted[index] / area[index], 1
        elif empty == "zero":
            counts[index] = 1
    factor = 1.0 if class_weights is None else class_weights
    return loss * factor, float((counts * factor).sum())


def dice_formula(smooth):
    return lambda overlap, predicted, actual: 1 - (2 * overlap + smooth) / (predicted + actual + smooth)


def jaccard_formula(smooth):
    return lambda overlap, predicted, actual: 1 - (overlap + smooth) / (predicted + actual - overlap + smooth)


def tversky_formula(alpha, beta, smooth):
    def one_loss(overlap, predicted, actual):
        false_positive, false_negative = predicted - overlap, actual - overlap
        return 1 - (overlap + smooth) / (overlap + alpha * false_positive + beta * false_negative + smooth)

    return one_loss


def focal_tversky_formula(alpha, beta, smooth, gamma):
    return lambda *masses: tversky_formula(alpha, beta, smooth)(*masses) ** (1 / gamma)


def log_cosh_dice_formula(smooth):
    return lambda *masses: np.log(np.cosh(dice_formula(smooth)(*masses)))


def softmax_dice_loss(logits, targets, mask=None, weights=None, *, smooth=0.0, empty="skip", ignore_index=-100, **rest):
    maps = softmax_maps(logits, targets, mask, weights, ignore_index)
    return finish(dice_formula(smooth), maps, empty=empty, **rest)


def sigmoid_dice_loss(
    logits, targets, mask=None, weights=None, *, smooth=0.0, empty="penalize", ignore_index=-100, **rest
):
    maps = sigmoid_maps(logits, targets, mask, weights, ignore_index)
    return finish(dice_formula(smooth), maps, empty=empty, **rest)


def softmax_jaccard_loss(
    logits, targets, mask=None, weights=None, *, smooth=0.0, empty="skip", ignore_index=-100, **rest
):
    maps = softmax_maps(logits, targets, mask, weights, ignore_index)
    return finish(jaccard_formula(smooth), maps, empty=empty, **rest)


def sigmoid_jaccard_loss(
    logits, targets, mask=None, weights=None, *, smooth=0.0, empty="penalize", ignore_index=-100, **rest
):
    maps = sigmoid_maps(logits, targets, mask, weights, ignore_index)
    return finish(jaccard_formula(smooth), maps, empty=empty, **rest)


def softmax_tversky_loss(logits, targets, mask=None, weights=None, *, alpha=0.3, beta=0.7, smooth=0.0, **rest):
    maps = softmax_maps(logits, targets, mask, weights, -100)
    return finish(tversky_formula(alpha, beta, smooth), maps, **{"empty": "skip"} | rest)


def sigmoid_tversky_loss(logits, targets, mask=None, weights=None, *, alpha=0.3, beta=0.7, smooth=0.0, **rest):
    maps = sigmoid_maps(logits, targets, mask, weights, -100)
    return finish(tversky_formula(alpha, beta, smooth), maps, **{"empty": "penalize"} | rest)


def softmax_focal_tversky_loss(
    logits, targets, mask=None, weights=None, *, alpha=0.3, beta=0.7, smooth=0.0, gamma=4 / 3, **rest
):
    maps = softmax_maps(logits, targets, mask, weights, -100)
    return finish(focal_tversky_formula(alpha, beta, smooth, gamma), maps, **{"empty": "skip"} | rest)


def sigmoid_focal_tversky_loss(
    logits, targets, mask=None, weights=None, *, alpha=0.3, beta=0.7, smooth=0.0, gamma=4 / 3, **rest
):
    maps = sigmoid_maps(logits, targets, mask, weights, -100)
    return finish(focal_tversky_formula(alpha, beta, smooth, gamma), maps, **{"empty": "penalize"} | rest)


def softmax_log_cosh_dice_loss(logits, targets, mask=None, weights=None, *, smooth=0.0, **rest):
    maps = softmax_maps(logits, targets, mask, weights, -100)
    return finish(log_cosh_dice_formula(smooth), maps, **{"empty": "skip"} | rest)


def sigmoid_log_cosh_dice_loss(logits, targets, mask=None, weights=None, *, smooth=0.0, **rest):
    maps = sigmoid_maps(logits, targets, mask, weights, -100)
    return finish(log_cosh_dice_formula(smooth), maps, **{"empty": "penalize"} | rest)


def generalized_dice(maps, *, weighting="square", smooth=0.0, empty, per_image=True, class_weights=None):
    overlap, predicted, actual, area = sums(maps, "linear", per_image)
    power = {"square": 2, "simple": 1, "uniform": 0}[weighting]
    losses, count = [], 0
    for image in range(overlap.shape[0]):
        present = actual[image] > 0
        if not present.any():
            penalized = empty == "penalize" and area[image].sum() > 0
            losses.append(predicted[image].sum() / area[image].sum() if penalized else 0.0)
            count += penalized
            continue
        weight = np.array([1 / volume**power if volume > 0 else 0.0 for volume in actual[image]])
        if empty == "penalize":
            weight = np.where(present, weight, weight.max())
        if class_weights is not None:
            weight = weight * class_weights
        above = 2 * (weight * overlap[image]).sum() + smooth
        losses.append(1 - above / ((weight * (predicted + actual)[image]).sum() + smooth))
        count += 1
    return np.array(losses), float(count)


def softmax_generalized_dice_loss(logits, targets, mask=None, weights=None, **options):
    return generalized_dice(softmax_maps(logits, targets, mask, weights, -100), **{"empty": "skip"} | options)


def sigmoid_generalized_dice_loss(logits, targets, mask=None, weights=None, **options):
    return generalized_dice(sigmoid_maps(logits, targets, mask, weights, -100), **{"empty": "penalize"} | options)

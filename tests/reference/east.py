"""Scene text, a pixel at a time, as the papers of EAST and DB and the ports of EAST write it."""

import math

import numpy as np

from .common import elementwise


def smooth_l1(x, beta):
    x = abs(x)
    return x * x / (2 * beta) if x < beta else x - beta / 2


def quad_of_best_order(quad, target, beta, edge):
    shortest = min(math.dist(target[i], target[(i + 1) % 4]) for i in range(4)) if edge is None else edge
    sums = [
        sum(smooth_l1(quad[i][axis] - target[(i + first) % 4][axis], beta) for i in range(4) for axis in range(2))
        for first in range(4)
    ]
    return min(sums) / (8 * shortest)


def quad_smooth_l1_loss(quads, targets, mask=None, weights=None, *, beta=1.0, shortest_edge=None):
    values = np.empty(quads.shape[:-2])
    for index in np.ndindex(*values.shape):
        edge = None if shortest_edge is None else shortest_edge[index]
        values[index] = quad_of_best_order(quads[index], targets[index], beta, edge)
    return elementwise(values, mask, weights)


def east_pixels(maps):
    """Each valid pixel as (image, row, column), and whether it is of a word."""
    for image, _, row, column in np.argwhere(maps["mask"]):
        yield image, row, column, maps["score"][image, 0, row, column]


def cross_entropy(score, target, probabilities):
    """-t log p and -(1 - t) log(1 - p)."""
    if probabilities:
        eps = np.finfo(np.float32).eps
        return -target * math.log(score + eps), -(1 - target) * math.log(1 - score + eps)
    return target * math.log1p(math.exp(-score)), (1 - target) * math.log1p(math.exp(score))


def sides(edges, order):
    """By name, from numbers in the order that the letters say."""
    return dict(zip(order, edges, strict=True))


def edges_loss(edges, target, order, smooth):
    a, b = sides(edges, order), sides(target, order)
    width = min(a["l"], b["l"]) + min(a["r"], b["r"])
    height = min(a["t"], b["t"]) + min(a["b"], b["b"])
    both = (a["l"] + a["r"]) * (a["t"] + a["b"]) + (b["l"] + b["r"]) * (b["t"] + b["b"])
    return -math.log((width * height + smooth) / (both - width * height + smooth))


def rotated_box(edges, angle, order):
    """(cx, cy, w, h, a) about the pixel: the mean of the four corners that the edges meet in; y points down."""
    d = sides(edges, order)
    along, down = np.array([math.cos(angle), -math.sin(angle)]), np.array([math.sin(angle), math.cos(angle)])
    corners = [x * along + y * down for x in (-d["l"], d["r"]) for y in (-d["t"], d["b"])]
    return [*np.mean(corners, 0), d["l"] + d["r"], d["t"] + d["b"], -angle]


def east_terms(
    scores, geometry, maps, *, order="trbl", smooth=0.0, probabilities=False, dice_form="linear", dice_smooth=0.0
):
    """What the terms are made of: means over the valid pixels for the score, sums over the positives for geometry."""
    pixels = list(east_pixels(maps))
    entropies = [cross_entropy(scores[b, 0, i, j], t, probabilities) for b, i, j, t in pixels]
    beta = 1 - np.mean([t for *_, t in pixels])
    p = np.array(
        [scores[b, 0, i, j] if probabilities else 1 / (1 + math.exp(-scores[b, 0, i, j])) for b, i, j, _ in pixels]
    )
    t = np.array([t for *_, t in pixels])
    power = 2 if dice_form == "squared" else 1
    positives = [(b, i, j) for b, i, j, t in pixels if t == 1]
    rows = [
        (geometry[b, :, i, j], maps["geometry"][b, :, i, j], maps["shortest_edge"][b, 0, i, j]) for b, i, j in positives
    ]
    terms = {
        "beta": beta,
        "positives": len(positives),
        "valid": len(pixels),
        "score": np.mean([beta * text + (1 - beta) * background for text, background in entropies]),
        "plain": np.mean([text + background for text, background in entropies]),
        "dice": 1 - (2 * (p * t).sum() + dice_smooth) / ((p**power).sum() + (t**power).sum() + dice_smooth),
    }
    if geometry.shape[1] == 8:
        quads = [(g.reshape(4, 2), wanted.reshape(4, 2), edge) for g, wanted, edge in rows]
        return terms | {"quad": sum(quad_of_best_order(quad, wanted, 1.0, edge) for quad, wanted, edge in quads)}
    return terms | {
        "iou": sum(edges_loss(g[:4], wanted[:4], order, smooth) for g, wanted, _ in rows),
        "angle": sum(1 - math.cos(g[4] - wanted[4]) for g, wanted, _ in rows),
        "boxes": [
            (rotated_box(g[:4], g[4], order), rotated_box(wanted[:4], wanted[4], order)) for g, wanted, _ in rows
        ],
        "ious": [math.exp(-edges_loss(g[:4], wanted[:4], order, 0.0)) for g, wanted, _ in rows],
        "turns": [abs(g[4] - wanted[4]) for g, wanted, _ in rows],
    }


def argman_loss(probabilities, geometry, maps, *, eps=1e-5):
    """argman/EAST as TensorFlow computes it: maps times maps, one mean over everything."""
    t, m = maps["score"], maps["mask"].astype(float)
    dice = 1 - 2 * (t * probabilities * m).sum() / ((t * m).sum() + (probabilities * m).sum() + eps)
    d1, d2, d3, d4, theta = np.split(geometry, 5, 1)
    g1, g2, g3, g4, wanted = np.split(maps["geometry"], 5, 1)
    shared = (np.minimum(d2, g2) + np.minimum(d4, g4)) * (np.minimum(d1, g1) + np.minimum(d3, g3))
    union = (d1 + d3) * (d2 + d4) + (g1 + g3) * (g2 + g4) - shared
    box = -np.log((shared + 1) / (union + 1))
    turn = 1 - np.cos(theta - wanted)
    return {"dice": 0.01 * dice, "iou": (box * t * m).mean(), "angle": 20 * (turn * t * m).mean()}


def sakura_loss(probabilities, geometry, maps, *, eps=1e-5):
    """SakuraRiven/EAST: sums over the score divided by it; d1 to d4 are top, bottom, left, right."""
    m = maps["mask"].astype(float)
    t = maps["score"] * m
    if t.sum() < 1:
        return {"dice": 0.0, "iou": 0.0, "angle": 0.0}
    dice = 1 - 2 * (t * probabilities * m).sum() / (t.sum() + (probabilities * m).sum() + eps)
    d1, d2, d3, d4, theta = np.split(geometry, 5, 1)
    g1, g2, g3, g4, wanted = np.split(maps["geometry"], 5, 1)
    shared = (np.minimum(d3, g3) + np.minimum(d4, g4)) * (np.minimum(d1, g1) + np.minimum(d2, g2))
    union = (d1 + d2) * (d3 + d4) + (g1 + g2) * (g3 + g4) - shared
    box = -np.log((shared + 1) / (union + 1))
    turn = 1 - np.cos(theta - wanted)
    return {"dice": dice, "iou": (box * t).sum() / t.sum(), "angle": 10 * (turn * t).sum() / t.sum()}


def east_paper_loss(scores, geometry, maps):
    """Equations of sections 3.4.1 and 3.4.2, the sums over the text region divided by its pixels."""
    terms = east_terms(scores, geometry, maps)
    number = terms["positives"]
    return {"score": terms["score"], "iou": terms["iou"] / number, "angle": 10 * terms["angle"] / number}


def db_loss(score, threshold, maps, *, ratio=3.0, least=10, k=50.0, smooth=0.0):
    """Differentiable binarisation: the three terms before their weights, and the negatives that count."""
    pixels = list(east_pixels(maps))
    losses = [sum(cross_entropy(score[b, 0, i, j], t, False)) for b, i, j, t in pixels]
    positive = [loss for loss, (*_, t) in zip(losses, pixels, strict=True) if t == 1]
    negative = sorted((loss for loss, (*_, t) in zip(losses, pixels, strict=True) if t == 0), reverse=True)
    negative = negative[: max(int(ratio * len(positive)), least)]
    near = [index for index in np.ndindex(*score.shape) if maps["threshold_mask"][index]]
    p, t = (
        {index: 1 / (1 + math.exp(-values[index])) for index in np.ndindex(*score.shape)}
        for values in (score, threshold)
    )
    binary = {(b, i, j): 1 / (1 + math.exp(-k * (p[b, 0, i, j] - t[b, 0, i, j]))) for b, i, j, _ in pixels}
    overlap = sum(binary[b, i, j] for b, i, j, wanted in pixels if wanted == 1)
    whole = sum(binary.values()) + len(positive)
    return {
        "score": np.mean(positive + negative),
        "threshold": np.mean([abs(t[index] - maps["threshold"][index]) for index in near]),
        "binary": 1 - (2 * overlap + smooth) / (whole + smooth) if positive else np.mean(list(binary.values())),
        "negatives": len(negative),
    }

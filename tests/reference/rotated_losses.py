"""Losses of edge distances and rotated boxes, a pair at a time: polygons are clipped, Gaussians are matrices."""

import math

import numpy as np
from scipy.spatial import ConvexHull, distance_matrix

from .common import elementwise


def over_rows(loss, rows, targets, mask, weights):
    values = np.empty(rows.shape[:-1])
    for index in np.ndindex(*values.shape):
        values[index] = loss(rows[index], targets[index])
    return elementwise(values, mask, weights)


SIDES = {"trbl": "top right bottom left", "tblr": "top bottom left right", "ltrb": "left top right bottom"}


def edge_iou_loss(edges, targets, mask=None, weights=None, *, distance_order="trbl", mode="log", smooth=0.0):
    names = SIDES[distance_order].split()

    def loss(row, target_row):
        own, other = dict(zip(names, row, strict=True)), dict(zip(names, target_row, strict=True))
        area = (own["top"] + own["bottom"]) * (own["left"] + own["right"])
        target_area = (other["top"] + other["bottom"]) * (other["left"] + other["right"])
        near = {name: min(own[name], other[name]) for name in names}
        shared = (near["top"] + near["bottom"]) * (near["left"] + near["right"])
        iou = (shared + smooth) / (area + target_area - shared + smooth)
        return 1 - iou if mode == "linear" else -math.log(iou)

    return over_rows(loss, edges, targets, mask, weights)


def angle_loss(angles, targets, mask=None, weights=None, *, symmetry=1):
    return elementwise(1 - np.cos(symmetry * (angles - targets)), mask, weights)


def turn(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def corners(box):
    """(4, 2), clockwise on the screen from the box's own top left."""
    x, y, width, height, angle = box
    local = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return local @ turn(angle).T + [x, y]


def polygon_area(points):
    x, y = np.asarray(points).reshape(-1, 2).T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) if len(x) > 2 else 0.0


def clip(polygon, start, end):
    """Sutherland and Hodgman: what of a polygon lies right of a line on the screen, that is inside a clockwise one."""
    side = end - start
    inner = [float(side[0] * (p[1] - start[1]) - side[1] * (p[0] - start[0])) for p in polygon]
    kept = []
    for index, point in enumerate(polygon):
        before, here, there = polygon[index - 1], inner[index], inner[index - 1]
        if here * there < 0:
            kept.append(before + (point - before) * (there / (there - here)))
        if here >= 0:
            kept.append(point)
    return kept


def shared_area(box, other):
    polygon, clipper = list(corners(box)), corners(other)
    for index in range(4):
        polygon = clip(polygon, clipper[index], clipper[(index + 1) % 4])
    return polygon_area(polygon)


def rotated_iou(box, other):
    shared = shared_area(box, other)
    return shared / (box[2] * box[3] + other[2] * other[3] - shared)


def rotated_iou_loss(boxes, targets, mask=None, weights=None, *, mode="linear"):
    def loss(a, b):
        iou = rotated_iou(a, b)
        if mode == "linear":
            return 1 - iou
        return -math.log(iou) if iou >= 1e-3 else -math.log(1e-3) + (1e-3 - iou) / 1e-3

    return over_rows(loss, boxes, targets, mask, weights)


def rotated_giou_loss(boxes, targets, mask=None, weights=None):
    def loss(a, b):
        hull, union = ConvexHull(np.concatenate([corners(a), corners(b)])).volume, a[2] * a[3] + b[2] * b[3]
        union -= shared_area(a, b)
        return 1 - rotated_iou(a, b) + (hull - union) / hull

    return over_rows(loss, boxes, targets, mask, weights)


def rotated_diou_loss(boxes, targets, mask=None, weights=None):
    def loss(a, b):
        points = np.concatenate([corners(a), corners(b)])
        diameter, apart = distance_matrix(points, points).max(), np.linalg.norm(a[:2] - b[:2])
        return 1 - rotated_iou(a, b) + (apart / diameter) ** 2

    return over_rows(loss, boxes, targets, mask, weights)


def gaussian(box, *, share):
    """Mean and covariance; `share` is a side's variance over its square."""
    x, y, width, height, angle = box
    axes = turn(angle)
    return np.array([x, y]), axes @ np.diag([width**2 * share, height**2 * share]) @ axes.T


def root_of(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T


def transformed(distance, transform):
    return math.sqrt(distance) if transform == "sqrt" else math.log1p(distance)


def gwd_loss(boxes, targets, mask=None, weights=None, *, tau=1.0, transform="log1p", normalize=False):
    def loss(a, b):
        (mean, cov), (target_mean, target_cov) = gaussian(a, share=1 / 4), gaussian(b, share=1 / 4)
        root = root_of(cov)
        squared = np.sum((mean - target_mean) ** 2) + np.trace(cov + target_cov - 2 * root_of(root @ target_cov @ root))
        if normalize:
            squared = squared / math.sqrt(a[2] * a[3] * b[2] * b[3])
        return 1 - 1 / (tau + transformed(squared, transform))

    return over_rows(loss, boxes, targets, mask, weights)


def kl_divergence(box, target):
    (mean, cov), (target_mean, target_cov) = gaussian(box, share=1 / 4), gaussian(target, share=1 / 4)
    inverse, apart = np.linalg.inv(target_cov), mean - target_mean
    logs = math.log(np.linalg.det(target_cov) / np.linalg.det(cov))
    return 0.5 * (apart @ inverse @ apart + np.trace(inverse @ cov) + logs) - 1


def kld_loss(boxes, targets, mask=None, weights=None, *, tau=1.0, transform="log1p"):
    def loss(a, b):
        return 1 - 1 / (tau + transformed(kl_divergence(a, b), transform))

    return over_rows(loss, boxes, targets, mask, weights)


def kalman_iou(box, target):
    """Times three, so that equal boxes have 1."""
    (_, cov), (_, target_cov) = gaussian(box, share=1 / 4), gaussian(target, share=1 / 4)
    product = np.linalg.inv(np.linalg.inv(cov) + np.linalg.inv(target_cov))
    volume, target_volume, shared = (4 * math.sqrt(np.linalg.det(each)) for each in (cov, target_cov, product))
    return 3 * shared / (volume + target_volume - shared)


def kfiou_loss(boxes, targets, mask=None, weights=None, *, mode="linear", center_weight=1.0):
    def loss(a, b):
        target_mean, target_cov = gaussian(b, share=1 / 4)
        apart, overlap = a[:2] - target_mean, kalman_iou(a, b)
        missing = {"linear": 1 - overlap, "log": -math.log(overlap), "exp": math.exp(1 - overlap) - 1}[mode]
        return center_weight * math.log(1 + apart @ np.linalg.inv(target_cov) @ apart) + missing

    return over_rows(loss, boxes, targets, mask, weights)


def bhattacharyya(box, target):
    (mean, cov), (target_mean, target_cov) = gaussian(box, share=1 / 12), gaussian(target, share=1 / 12)
    middle, apart = (cov + target_cov) / 2, mean - target_mean
    log_ratio = math.log(np.linalg.det(middle) / math.sqrt(np.linalg.det(cov) * np.linalg.det(target_cov)))
    return apart @ np.linalg.inv(middle) @ apart / 8 + log_ratio / 2


def probiou_loss(boxes, targets, mask=None, weights=None, *, mode="l1"):
    def loss(a, b):
        distance = bhattacharyya(a, b)
        if mode == "l1":
            return math.sqrt(1 - math.exp(-distance))
        return distance if distance < 10 else 10 + 10 * math.log(distance / 10)

    return over_rows(loss, boxes, targets, mask, weights)

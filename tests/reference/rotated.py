"""Slow float64 forms for rotated boxes: rotation matrices, 2 x 2 covariances, EAST's two-branch decoder."""

import math

import numpy as np
from scipy.linalg import sqrtm

from .common import Array


def box_corners(box: Array) -> Array:
    """Corner by corner with a rotation matrix, clockwise on the screen from the top left."""
    x, y, width, height, angle = box
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    return np.array([np.array([x, y]) + turn @ np.array([i * width / 2, j * height / 2]) for i, j in signs])


def covariance(box: Array, divisor: float) -> Array:
    """Of a box whose variances are its squared sides over the divisor."""
    _, _, width, height, angle = box
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return turn @ np.diag([width**2, height**2]) @ turn.T / divisor


def wasserstein_squared(box: Array, target: Array) -> float:
    a, b, offset = covariance(box, 4), covariance(target, 4), box[:2] - target[:2]
    root = sqrtm(a)
    return float(offset @ offset + np.trace(a + b - 2 * np.real(sqrtm(root @ b @ root))))


def kl_divergence(box: Array, target: Array) -> float:
    a, b, offset = covariance(box, 4), covariance(target, 4), box[:2] - target[:2]
    inverse = np.linalg.inv(b)
    ratio = math.log(np.linalg.det(b) / np.linalg.det(a))
    return float(offset @ inverse @ offset + np.trace(inverse @ a) - 2 + ratio) / 2


def kalman_iou(box: Array, target: Array) -> float:
    """Areas of the Gaussians before and after a Kalman update."""
    a, b = covariance(box, 4), covariance(target, 4)
    gain = a @ np.linalg.inv(a + b)
    area, other, both = (4 * math.sqrt(np.linalg.det(one)) for one in (a, b, a - gain @ a))
    return both / (area + other - both)


def bhattacharyya(box: Array, target: Array) -> float:
    a, b, offset = covariance(box, 12), covariance(target, 12), box[:2] - target[:2]
    mean = (a + b) / 2
    spread = offset @ np.linalg.inv(mean) @ offset / 8
    ratio = np.linalg.det(mean) / math.sqrt(np.linalg.det(a) * np.linalg.det(b))
    return float(spread + math.log(ratio) / 2)


def east_corners(point: Array, edges: Array, angle: float) -> Array:
    """Corners as EAST's published decoders find them: one branch for each sign of the angle.

    Each lays the upright rectangle with its lower left (or lower right) corner in the origin, turns it, and moves it
    so that the turned place of the pixel comes to the pixel.
    """
    top, right, bottom, left = edges
    width, height = left + right, top + bottom
    if angle >= 0:
        corners = np.array([[0, -height], [width, -height], [width, 0], [0, 0]])
        pixel = np.array([left, -bottom])
    else:
        corners = np.array([[-width, -height], [0, -height], [0, 0], [-width, 0]])
        pixel = np.array([-right, -bottom])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return corners @ turn.T + (point - turn @ pixel)

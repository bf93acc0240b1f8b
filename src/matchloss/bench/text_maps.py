"""Rows of target maps of scene text, beside the loop over pixels that argman's EAST and its ports draw theirs with."""

import numpy as np
import torch
from numpy.typing import NDArray

from ..encoders import DBTargetEncoder, EASTTargetEncoder
from ..geometry import enclosing_rectangles, rotated_corners
from .rows import Row, dims, peer
from .setting import Setting
from .words import words

Floats = NDArray[np.float64]
SHRINK = 0.3


def east_maps(setting: Setting, count: int, heights: tuple[int, int]) -> Row:
    """The value is the sum of the distances; the loop's words overwrite each other, so its own differs."""
    count, heights, size = (3, (10, 20), (64, 96)) if setting.quick else (count, heights, (512, 512))
    drawn = words(setting, count, heights, size)
    quads, ignore = setting.to_device(drawn), setting.to_device(torch.zeros(count, dtype=torch.bool))
    encoder = EASTTargetEncoder.argman()
    loop = peer(lambda: torch.from_numpy(loop_over_pixels(drawn.numpy(), size)).sum(), "words overwrite each other")
    return Row(
        f"{dims(*size)}, {count} words",
        lambda: encoder([quads], [ignore], size).geometry.sum(),
        None,
        others={"a loop over pixels": loop} if setting.peers.wanted else {},
    )


def db_maps(setting: Setting, count: int, heights: tuple[int, int]) -> Row:
    """The value is the sum of the thresholds."""
    count, heights, size = (3, (10, 20), (64, 96)) if setting.quick else (count, heights, (512, 512))
    quads = setting.to_device(words(setting, count, heights, size))
    ignore, encoder = setting.to_device(torch.zeros(count, dtype=torch.bool)), DBTargetEncoder()
    return Row(f"{dims(*size)}, {count} words", lambda: encoder([quads], [ignore], size).threshold.sum(), None)


def loop_over_pixels(quads: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """``(h, w, 5)``: at full size, pixel by pixel the distances to four lines; then each fourth pixel.

    Rectangles are ours, in one go, and so are shrinking and filling, by arrays: the loop is what takes long.
    """
    boxes = enclosing_rectangles(torch.from_numpy(quads))
    rectangles, angles = rotated_corners(boxes).numpy().astype(np.float64), boxes[:, 4].tolist()
    geometry = np.zeros((*size, 5), dtype=np.float32)
    for word, rectangle, angle in zip(quads.astype(np.float64), rectangles, angles, strict=True):
        inner = word.mean(0) + (1 - SHRINK) * (word - word.mean(0))
        for y, x in _pixels(inner, size):
            for k in range(4):
                geometry[y, x, k] = _distance_to_line(rectangle[k], rectangle[(k + 1) % 4], np.array([x, y]))
            geometry[y, x, 4] = -angle
    return geometry[::4, ::4]


def _pixels(quad: Floats, size: tuple[int, int]) -> NDArray[np.int64]:
    """``(n, 2)``: y and x of the pixels of the image in a quad."""
    low = np.floor(quad.min(0)).clip(0).astype(int)
    high = np.minimum(np.ceil(quad.max(0)).astype(int) + 1, size[::-1]).clip(0)
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]]
    edge, inside = np.roll(quad, -1, 0) - quad, np.ones(y.shape, dtype=bool)
    for (from_x, from_y), (along_x, along_y) in zip(quad, edge, strict=True):
        inside &= along_x * (y - from_y) - along_y * (x - from_x) >= 0
    places: NDArray[np.int64] = np.argwhere(inside) + low[::-1]
    return places


def _distance_to_line(start: Floats, end: Floats, point: NDArray[np.int64]) -> float:
    edge, arm = end - start, start - point
    return float(np.abs(edge[0] * arm[1] - edge[1] * arm[0]) / np.linalg.norm(edge))

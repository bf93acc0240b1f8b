"""Rows of EAST's decoding: maps to words, and the merging alone, beside the common Python code and the authors' C++."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..encoders import EASTTargetEncoder
from ..postprocess import decode_east, locality_aware_nms
from .rows import Row, Variant, dims, peer
from .setting import Setting
from .words import candidates

THRESHOLD = 0.2
Quads = NDArray[np.float32]


def decoding(setting: Setting, count: int) -> Row:
    """Words of 110 by 32 pixels; the encoder's maps with the noise of a trained network."""
    count = 1 if setting.quick else count
    word = torch.tensor([[0.0, 0.0], [110.0, 6.0], [108.0, 38.0], [-2.0, 32.0]])
    corner = torch.stack([20 + 150.0 * (torch.arange(count) % 8), 10 + 130.0 * (torch.arange(count) // 8)], -1)
    maps = EASTTargetEncoder()([word + corner[:, None]], [torch.zeros(count, dtype=torch.bool)], (720, 1280))
    noise = torch.tensor([1.5, 1.5, 1.5, 1.5, 0.02]).view(5, 1, 1) * setting.randn(*maps.geometry.shape)
    logits, geometry = setting.to_device(18 * maps.score - 9), setting.to_device(maps.geometry + noise)
    return Row(
        f"{dims(*logits.shape[2:])} cells, {int(maps.score.sum())} candidates",
        lambda: decode_east(logits, geometry).quads.sum(),
        None,
        plain=False,  # it takes some milliseconds a candidate
    )


def merging(setting: Setting, count: int) -> Row:
    """54 candidates a word."""
    count = 1 if setting.quick else count
    quads, scores = candidates(setting, count)
    on_device = setting.to_device(quads), setting.to_device(scores)
    rows = np.concatenate([quads.numpy().reshape(-1, 8), scores.numpy()[:, None]], 1, dtype=np.float32)
    others: dict[str, Variant] = {}
    if polygon := setting.peers.find("shapely.geometry", "Polygon"):
        others["Python with Shapely"] = peer(lambda: torch.tensor(in_python(rows, polygon)).sum())
    if merge := setting.peers.find("lanms", "merge_quadrangle_n9"):
        others["C++ of the authors"] = peer(lambda: torch.tensor(merge(rows, THRESHOLD)[:, :8]).sum())
    return Row(
        f"{len(quads)} candidates",
        lambda: locality_aware_nms(*on_device, threshold=THRESHOLD)[0].sum(),
        None,
        others=others,
        plain=False,
    )


def in_python(rows: Quads, polygon: Callable[..., Any]) -> Quads:
    """The algorithm as the Python ports write it: corner by corner, with polygons of Shapely."""

    def iou(first: Quads, second: Quads) -> float:
        one, other = polygon(first[:8].reshape(4, 2)), polygon(second[:8].reshape(4, 2))
        shared = one.intersection(other).area
        return float(shared / (one.area + other.area - shared))

    merged: list[Quads] = []
    for row in rows.astype(np.float64):
        if merged and iou(merged[-1], row) > THRESHOLD:
            last = merged[-1]
            last[:8] = (last[8] * last[:8] + row[8] * row[:8]) / (last[8] + row[8])
            last[8] += row[8]
        else:
            merged.append(row.copy())
    kept: list[Quads] = []
    for one in sorted(merged, key=lambda row: -float(row[8])):
        if all(iou(other, one) <= THRESHOLD for other in kept):
            kept.append(one)
    return np.array([one[:8] for one in kept], dtype=np.float32)

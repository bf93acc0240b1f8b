"""Outputs of a dense detector, level by level or already flattened, as one row a point or anchor."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

Levels = Sequence[Mapping[str, Tensor]] | Mapping[str, Any]
"""What a dense detector gives: one dict a level, or one dict with all levels flattened."""


class DenseOutputs(NamedTuple):
    """Outputs in the order of :func:`~matchloss.geometry.grid_points`, the anchors of a point side by side."""

    logits: Tensor
    """``(B, A, C)``."""
    boxes: Tensor
    """``(B, A, D)``, distances or deltas as the model gives them."""
    sizes: list[tuple[int, int]]
    """``(H, W)`` of each level."""


def flatten_levels(
    caller: str,
    levels: Levels,
    key: str,
    strides: Sequence[float],
    *,
    per_point: int = 1,
    image_size: tuple[int, int] | None = None,
) -> DenseOutputs:
    """Read what a dense detector gives, one row a point.

    Args:
        caller: named in errors.
        levels: one dict a level with ``logits (B, n * C, H, W)`` and ``key (B, n * D, H, W)``; or one dict with
            ``logits (B, A, C)`` and ``key (B, A, D)``, and, unless the image size is known, ``sizes`` [(H, W), ...].
        key: "distances" or "deltas".
        strides: pixels of a cell, one a level.
        per_point: n, how many anchors share a point.
        image_size: ``(H, W)`` of the images, from which the sizes of flattened levels follow.

    Raises:
        ValueError: a missing key, or shapes that fit neither each other nor the strides.
    """
    if isinstance(levels, Mapping):
        return _read_flat(caller, levels, key, strides, per_point, image_size)
    if len(levels) != len(strides):
        raise ValueError(f"{caller}: expected {len(strides)} levels, one a stride, got {len(levels)}")
    logits, boxes = [], []
    for number, level in enumerate(levels):
        _check_keys(caller, level, key)
        if level["logits"].shape[2:] != level[key].shape[2:] or level["logits"].ndim != 4:
            shapes = f"logits {tuple(level['logits'].shape)} and {key} {tuple(level[key].shape)}"
            raise ValueError(f"{caller}: expected maps (B, ., H, W) of one size at level {number}, got {shapes}")
        logits.append(_rows(caller, level["logits"], per_point))
        boxes.append(_rows(caller, level[key], per_point))
    sizes = [(level[key].shape[2], level[key].shape[3]) for level in levels]
    return DenseOutputs(_concatenate(logits), _concatenate(boxes), sizes)


def _read_flat(
    caller: str,
    outputs: Mapping[str, Any],
    key: str,
    strides: Sequence[float],
    per_point: int,
    image_size: tuple[int, int] | None,
) -> DenseOutputs:
    _check_keys(caller, outputs, key)
    logits, boxes = outputs["logits"], outputs[key]
    sizes = outputs.get("sizes")
    if sizes is None:
        if image_size is None:
            raise ValueError(f"{caller}: expected sizes=[(H, W), ...] beside flattened outputs, or an image_size")
        sizes = [(int(-(-image_size[0] // stride)), int(-(-image_size[1] // stride))) for stride in strides]
    count = per_point * sum(height * width for height, width in sizes)
    if len(sizes) != len(strides) or logits.shape[1] != count or boxes.shape[1] != count:
        got = f"logits {tuple(logits.shape)}, {key} {tuple(boxes.shape)} for levels of {list(sizes)}"
        raise ValueError(f"{caller}: expected {count} rows on {len(strides)} levels, got {got}")
    return DenseOutputs(logits, boxes, list(sizes))


def _check_keys(caller: str, outputs: Mapping[str, Any], key: str) -> None:
    if "logits" not in outputs or key not in outputs:
        raise ValueError(f"{caller}: expected keys 'logits' and '{key}', got {sorted(outputs)}")


def _rows(caller: str, values: Tensor, per_point: int) -> Tensor:
    """``(B, n * D, H, W)`` to ``(B, H * W * n, D)``."""
    if values.shape[1] % per_point:
        raise ValueError(f"{caller}: expected a multiple of {per_point} channels, got {values.shape[1]}")
    batch, channels, height, width = values.shape
    split = values.reshape(batch, per_point, channels // per_point, height, width)
    return split.permute(0, 3, 4, 1, 2).flatten(1, 3)


def _concatenate(rows: list[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)

"""Scenes of set prediction: queries of all layers, of which half lie near an object, and annotations an image."""

from typing import NamedTuple

import torch
from torch import Tensor

from .setting import Setting

CLASSES = 91


class Scene(NamedTuple):
    """What matchers read."""

    logits: Tensor
    boxes: Tensor
    """cxcywh as fractions."""
    annotations: list[dict[str, Tensor]]


def set_scene(setting: Setting, shape: tuple[int, ...], count: int) -> Scene:
    """Logits of a shape ``(..., B, Q, classes)``; half as many to half as many more objects than ``count`` an image."""
    images, queries = shape[-3:-1]
    annotations, predicted = [], []
    for _ in range(images):
        number = int(setting.integers(count // 2, count + count // 2 + 1))
        own = _boxes(setting, number)
        labels = setting.integers(0, CLASSES, number)
        annotations.append({"class_labels": setting.to_device(labels), "boxes": setting.to_device(own)})
        near = own[setting.integers(0, number, queries)]
        near = near * (1 + 0.2 * setting.randn(*near.shape)).clamp(0.2, 2)
        predicted.append(torch.where(setting.rand(queries, 1) < 0.5, near, _boxes(setting, queries)))
    around = torch.stack(predicted).expand(*shape[:-1], 4)
    moved = around * (1 + 0.05 * setting.randn(*around.shape)).clamp(0.5, 2)
    return Scene(setting.to_device(setting.randn(*shape)), setting.to_device(moved), annotations)


def _boxes(setting: Setting, number: int) -> Tensor:
    size = 0.02 * 15 ** setting.rand(number, 2)
    return torch.cat([setting.rand(number, 2) * (1 - size) + size / 2, size], -1)

"""Predictions and targets as trainings have them: pictures in patches, few objects among many anchors, near boxes."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .setting import Setting

PATCHES = 8
"""Patches of labels a side of the picture."""


def class_maps(setting: Setting, shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Logits ``(N, C, H, W)``, and labels in patches as in a picture; up to 64 classes are all in each of them."""
    images, classes, *size = shape
    order = torch.stack([torch.randperm(PATCHES**2, generator=setting.generator) for _ in range(images)])
    coarse = (order % classes).view(images, 1, PATCHES, PATCHES).float()
    labels = F.interpolate(coarse, size, mode="nearest")[:, 0].long()
    return setting.leaf(setting.randn(*shape)), setting.to_device(labels)


def binary_maps(setting: Setting, shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Logits ``(N, C, H, W)``, and maps of which a third is foreground, in patches."""
    images, classes, *size = shape
    order = torch.stack([torch.randperm(PATCHES**2, generator=setting.generator) for _ in range(images * classes)])
    coarse = (order < PATCHES**2 / 3).view(images, classes, PATCHES, PATCHES).float()
    maps = F.interpolate(coarse, size, mode="nearest")
    return setting.leaf(setting.randn(*shape)), setting.to_device(maps)


def anchor_scores(setting: Setting, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``(B, A, C)``, labels of which one in a hundred is an object, the others -1, and a score for each."""
    *places, classes = shape
    is_object = setting.rand(*places) < 0.01
    labels = torch.where(is_object, setting.integers(0, classes, *places), -1)
    scores = torch.where(is_object, setting.rand(*places), 0.0)
    return setting.leaf(setting.randn(*shape)), setting.to_device(labels), setting.to_device(scores)


def one_hot(labels: Tensor, classes: int, values: Tensor | float = 1.0) -> Tensor:
    """Dense targets ``(B, A, C)`` of labels, as peers want them; -1 is all zero."""
    hot = labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)
    return hot * (values.unsqueeze(-1) if isinstance(values, Tensor) else values)


def box_pairs(setting: Setting, count: int) -> tuple[Tensor, Tensor]:
    """Targets of 10 to 200 pixels, and predictions that overlap most of them."""
    low, size = 400 * setting.rand(count, 2), 10 + 190 * setting.rand(count, 2)
    moved = low + size * (setting.rand(count, 2) - 0.5)
    other = size * (0.5 + setting.rand(count, 2))
    boxes, targets = torch.cat([moved, moved + other], 1), torch.cat([low, low + size], 1)
    return setting.leaf(boxes), setting.to_device(targets)


def rotated_pairs(setting: Setting, count: int) -> tuple[Tensor, Tensor]:
    """The same, turned any way, the predictions by up to 30 degrees more."""
    center, size = 400 * setting.rand(count, 2), 10 + 190 * setting.rand(count, 2)
    angle = math.pi * (setting.rand(count, 1) - 0.5)
    moved = center + 0.3 * size * (setting.rand(count, 2) - 0.5)
    turned = angle + math.pi / 3 * (setting.rand(count, 1) - 0.5)
    boxes = torch.cat([moved, size * (0.5 + setting.rand(count, 2)), turned], 1)
    return setting.leaf(boxes), setting.to_device(torch.cat([center, size, angle], 1))


def value_pairs(setting: Setting, *shape: int) -> tuple[Tensor, Tensor]:
    """Numbers near to other numbers."""
    targets = 2 * setting.randn(*shape)
    return setting.leaf(targets + setting.randn(*shape)), setting.to_device(targets)


def positive_pairs(setting: Setting, *shape: int) -> tuple[Tensor, Tensor]:
    """Lengths of 1 to 100 pixels, the predictions from half to one and a half of them."""
    targets = 1 + 99 * setting.rand(*shape)
    return setting.leaf(targets * (0.5 + setting.rand(*shape))), setting.to_device(targets)


def bin_logits(setting: Setting, count: int, bins: int) -> tuple[Tensor, Tensor]:
    """Distributions over bins, and targets between them."""
    targets = (bins - 1.01) * setting.rand(count)
    return setting.leaf(setting.randn(count, bins)), setting.to_device(targets)


def quad_pairs(setting: Setting, count: int) -> tuple[Tensor, Tensor]:
    """Corners ``(N, 4, 2)`` of words, the predictions some pixels off."""
    word = torch.tensor([[0.0, 0.0], [60.0, 4.0], [58.0, 22.0], [-2.0, 18.0]])
    targets = word * (0.5 + setting.rand(count, 1, 1)) + 400 * setting.rand(count, 1, 2)
    return setting.leaf(targets + 3 * setting.randn(count, 4, 2)), setting.to_device(targets)

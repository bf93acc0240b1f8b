"""Scenes of dense detectors: points or anchors of three levels, predictions near objects, padded targets."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..geometry import grid_points
from ..types import Targets
from .setting import Setting

STRIDES = (8, 16, 32)
CLASSES = 80


class Scene(NamedTuple):
    """What assigners of predictions read."""

    points: Tensor
    strides: Tensor
    scores: Tensor
    boxes: Tensor
    targets: Targets


def dense_scene(setting: Setting, images: int, count: int, side: int = 640) -> Scene:
    """Targets of 10 to 245 pixels, half of the predictions like one of those around their point."""
    points, strides, _ = grid_points([(side // stride,) * 2 for stride in STRIDES], STRIDES)
    targets = square_targets(setting, images, count, side)
    centers = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    nearest = torch.stack([torch.cdist(points, center).argmin(1) for center in centers])
    near = targets.boxes.gather(1, nearest.unsqueeze(-1).expand(-1, -1, 4))
    half = 8 + 100 * setting.rand(images, len(points), 4)
    around = torch.cat([points - half[..., :2], points + half[..., 2:]], -1)
    close = setting.rand(images, len(points), 1) < 0.5
    boxes = torch.where(close, near + 20 * (setting.rand(images, len(points), 4) - 0.5), around)
    scores = setting.rand(images, len(points), CLASSES)
    return Scene(
        setting.to_device(points),
        setting.to_device(strides),
        setting.to_device(scores),
        setting.to_device(boxes),
        targets_to(targets, setting.device),
    )


def square_targets(setting: Setting, images: int, count: int, side: int) -> Targets:
    """``count`` objects an image, on the CPU."""
    centers, sides = setting.rand(images, count, 2) * side, 10 * 24.5 ** setting.rand(images, count, 2)
    boxes = torch.cat([centers - sides / 2, centers + sides / 2], -1)
    everything = torch.ones(images, count, dtype=torch.bool)
    labels = setting.integers(0, CLASSES, images, count)
    return Targets(labels, boxes, everything, ~everything, torch.ones(images, count), image_size=(side, side))


def targets_to(targets: Targets, device: str) -> Targets:
    """The same on a device."""
    names = ("labels", "boxes", "valid", "ignore", "weights")
    return targets._replace(**{name: getattr(targets, name).to(device) for name in names})

"""Rotated boxes of `Targets` in pixels and in fractions of the image.

In fractions, cx and w are over the width of the image, cy and h over its height, and the angle is that of the pixels:
only numbers are divided. Such boxes have no shape of their own, so that whoever compares them wants the image size.
"""

import torch
from torch import Tensor

from ..types import Targets
from .boxes import cxcywh_boxes, xyxy_boxes, xyxy_to_cxcywh

Size = tuple[int, int]


def rotated_to_pixels(boxes: Tensor, image_size: Size) -> Tensor:
    """Rotated boxes ``(..., 5)`` from fractions of an image of ``(H, W)``.

    Example:
        >>> rotated_to_pixels(torch.tensor([0.5, 0.5, 0.25, 0.1, 0.3]), (20, 40))
        tensor([20.0000, 10.0000, 10.0000,  2.0000,  0.3000])
    """
    height, width = image_size
    x, y, box_width, box_height, angle = boxes.unbind(-1)
    return torch.stack([x * width, y * height, box_width * width, box_height * height, angle], dim=-1)


def rotated_pixels(caller: str, targets: Targets) -> Tensor:
    """Boxes of targets as ``(B, M, 5)`` in pixels, whatever form they came in; upright ones have the angle 0.

    Raises:
        ValueError: fractions without an image size.
    """
    _check(caller, targets)
    if targets.box_format != "cxcywha":
        return _turned_by_nothing(xyxy_to_cxcywh(xyxy_boxes(caller, targets)))
    return rotated_to_pixels(targets.boxes, size_of(caller, targets)) if targets.normalized else targets.boxes


def rotated_fractions(caller: str, targets: Targets) -> Tensor:
    """Boxes of targets as ``(B, M, 5)`` in fractions of the image, whatever form they came in.

    Raises:
        ValueError: pixels without an image size.
    """
    _check(caller, targets)
    if targets.box_format != "cxcywha":
        return _turned_by_nothing(cxcywh_boxes(caller, targets))
    if targets.normalized:
        return targets.boxes
    height, width = size_of(caller, targets)
    x, y, box_width, box_height, angle = targets.boxes.unbind(-1)
    return torch.stack([x / width, y / height, box_width / width, box_height / height, angle], dim=-1)


def size_of(caller: str, targets: Targets) -> Size:
    """``(H, W)`` of the images."""
    if targets.image_size is None:
        raise ValueError(f"{caller}: expected Targets with image_size=(H, W): rotated boxes are compared in pixels")
    return targets.image_size


def angles_apart(angles: Tensor, target_angles: Tensor) -> Tensor:
    """How far two directions without a sense are apart, in [0, π/2]; broadcasts.

    Example:
        >>> angles_apart(torch.tensor(3.0), torch.tensor(0.0))
        tensor(0.1416)
    """
    turn = angles - target_angles
    return (turn - torch.pi * (turn.detach() / torch.pi).round()).abs()


def _turned_by_nothing(boxes: Tensor) -> Tensor:
    return torch.cat([boxes, torch.zeros_like(boxes[..., :1])], dim=-1)


def _check(caller: str, targets: Targets) -> None:
    numbers = 5 if targets.box_format == "cxcywha" else 4
    if targets.boxes.shape[-1] != numbers:
        got = f"boxes of {targets.boxes.shape[-1]} numbers"
        raise ValueError(f"{caller}: expected {numbers} numbers a box in the format {targets.box_format}, got {got}")

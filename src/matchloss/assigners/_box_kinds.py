"""What an assigner of points asks of boxes, upright ``(..., 4)`` xyxy or rotated ``(..., 5)``."""

import torch
from torch import Tensor

from .._core import use_fast_path
from ..geometry import box_ciou, box_iou, hellinger_distance, inside_boxes, rotated_box_iou
from ..geometry.edges import edges_from_rotated
from ..geometry.rotated_regions import inside_rotated


def is_rotated(boxes: Tensor) -> bool:
    """Whether boxes have an angle."""
    return boxes.shape[-1] == 5


def is_proper(boxes: Tensor) -> Tensor:
    """Whether no side is negative."""
    if is_rotated(boxes):
        return (boxes[..., 2:4] >= 0).all(-1)
    return (boxes[..., 2:] >= boxes[..., :2]).all(-1)


def centers(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Middle, as x and y."""
    if is_rotated(boxes):
        return boxes[..., 0], boxes[..., 1]
    x1, y1, x2, y2 = boxes.unbind(-1)
    return x1 / 2 + x2 / 2, y1 / 2 + y2 / 2


def inside(points: Tensor, boxes: Tensor, *, margin: float = 0.0) -> Tensor:
    """Whether points lie inside by more than ``margin``."""
    return (inside_rotated if is_rotated(boxes) else inside_boxes)(points, boxes, margin=margin)


def farthest_side(points: Tensor, boxes: Tensor) -> Tensor:
    """Largest of the distances to the four sides, or to the lines through them."""
    if is_rotated(boxes):
        return edges_from_rotated(points, boxes)[0].amax(-1)
    x, y = points.unbind(-1)
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.maximum(torch.maximum(x - x1, x2 - x), torch.maximum(y - y1, y2 - y))


def widened(boxes: Tensor, min_side: float | None) -> Tensor:
    """Boxes with sides below ``min_side`` widened to it about the centre."""
    if min_side is None:
        return boxes
    if is_rotated(boxes):
        return torch.cat([boxes[..., :2], boxes[..., 2:4].clamp(min=min_side), boxes[..., 4:]], dim=-1)
    x1, y1, x2, y2 = boxes.unbind(-1)
    half = min_side / 2
    x, y = centers(boxes)
    narrow, low = x2 - x1 < min_side, y2 - y1 < min_side
    sides = (
        torch.where(narrow, x - half, x1),
        torch.where(low, y - half, y1),
        torch.where(narrow, x + half, x2),
        torch.where(low, y + half, y2),
    )
    return torch.stack(sides, dim=-1)


def rotated_iou(boxes: Tensor, targets: Tensor) -> Tensor:
    """IoU of rotated boxes, on the CPU without a look at pairs whose circles about the corners are apart: 0."""
    if boxes.device.type != "cpu" or not use_fast_path():
        return rotated_box_iou(boxes, targets)
    reach = torch.linalg.vector_norm(boxes[..., 2:4], dim=-1) + torch.linalg.vector_norm(targets[..., 2:4], dim=-1)
    apart = 2 * torch.linalg.vector_norm(boxes[..., :2] - targets[..., :2], dim=-1) > reach
    near = (~apart).flatten().nonzero().squeeze(1)  # a NaN too
    boxes, targets = (rows.expand(*apart.shape, 5).flatten(0, -2)[near] for rows in (boxes, targets))
    iou = torch.zeros(apart.numel(), dtype=boxes.dtype)
    iou[near] = rotated_box_iou(boxes, targets)
    return iou.view(apart.shape)


def probiou(boxes: Tensor, targets: Tensor) -> Tensor:
    """One minus the Hellinger distance of rotated boxes as Gaussians, in [0, 1]."""
    return 1 - hellinger_distance(boxes, targets)


OVERLAPS = {"iou": box_iou, "ciou": box_ciou}
ROTATED_OVERLAPS = {"iou": rotated_iou, "probiou": probiou}

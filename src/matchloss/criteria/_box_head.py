"""What a dense head says of boxes: distances of a point to four sides and, where boxes are rotated, an angle."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import to_compute
from ..geometry import (
    Levels,
    Points,
    box_iou,
    boxes_from_distances,
    distances_from_boxes,
    edges_from_rotated,
    expected_distances,
    flatten_levels,
    grid_points,
    rotated_box_iou,
    rotated_from_edges,
    xyxy_boxes,
)
from ..geometry.rotated_targets import rotated_pixels
from ..types import Targets
from ._dense import read_targets


class BoxHead(NamedTuple):
    """Of the points of a batch, or of some of them."""

    sides: Tensor
    """``(B, A, 4 * bins)``: left, top, right, bottom in cells, as the model gives them."""
    angles: Tensor | None
    """``(B, A)`` radians, clockwise on the screen; None for upright boxes."""

    def boxes(self, points: Tensor, strides: Tensor) -> Tensor:
        """In pixels, ``(B, A, 4)`` xyxy or ``(B, A, 5)`` rotated about the middle of their distances."""
        distances = expected_distances(self.sides) * strides
        if self.angles is None:
            return boxes_from_distances(points, distances)
        # In EAST's order, top first, and with its sense of the angle.
        return rotated_from_edges(points, distances.roll(-1, -1), -to_compute(self.angles))


class DenseBatch(NamedTuple):
    """What a dense model gives, beside its targets."""

    targets: Targets
    logits: Tensor
    """``(B, A, C)``."""
    head: BoxHead
    points: Points

    def target_boxes(self, caller: str) -> Tensor:
        """``(B, M, 4)`` xyxy or ``(B, M, 5)`` rotated, in pixels."""
        return (xyxy_boxes if self.head.angles is None else rotated_pixels)(caller, self.targets)


def read_batch(
    caller: str, levels: Levels, targets: Targets | Sequence[Mapping[str, Tensor]], strides: Sequence[float]
) -> DenseBatch:
    """Flatten the levels, and read targets in the format of the boxes."""
    rotated = "angles" in (levels if isinstance(levels, Mapping) or not levels else levels[0])
    if not isinstance(targets, Targets):
        targets = Targets.from_list(targets, box_format="cxcywha" if rotated else "xyxy")
    targets = read_targets(targets)
    if targets.box_format == "cxcywha" and not rotated:
        raise ValueError(f"{caller}: expected levels with 'angles' beside rotated targets, got none")
    outputs = flatten_levels(caller, levels, "distances", strides, image_size=targets.image_size)
    angles = None
    if rotated:
        angles = flatten_levels(caller, levels, "angles", strides, image_size=targets.image_size).boxes
        if angles.shape[-1] != 1:
            raise ValueError(f"{caller}: expected one channel of angles, got {angles.shape[-1]}")
        angles = angles.squeeze(-1)
    points = grid_points(outputs.sizes, strides, device=outputs.boxes.device)
    return DenseBatch(targets, outputs.logits, BoxHead(outputs.boxes, angles), points)


def distances_to_sides(points: Tensor, boxes: Tensor) -> Tensor:
    """Left, top, right, bottom of upright or rotated boxes, in pixels; negative outside."""
    if boxes.shape[-1] == 4:
        return distances_from_boxes(points, boxes)
    return edges_from_rotated(points, boxes)[0].roll(1, -1)


@torch.no_grad()
def iou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Of upright or rotated boxes, pair by pair."""
    return (box_iou if boxes.shape[-1] == 4 else rotated_box_iou)(boxes, target_boxes)

"""The IoU family of rotated boxes, exact and differentiable.

Of two boxes the one with the longest side gives the frame: in it that box is the unit square, and the other a
parallelogram around its offset. Ratios of areas do not change with the frame, and it leaves digits where they count:
for boxes of 1000 x 0.001 as for squares, far from the image's corner, of any scale. An inverted box counts as empty.
A side is at least a billionth of the longest, so that a box without area has IoU 1 with itself, and with others
almost 0.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import compute_dtype, or_one, to_compute
from ._polygons import add_to_hull, broadcast, cut_polygon, keep_inside, polygon_area

SMALLEST_SIDE = 1e-9
"""Of the longest side of the two boxes."""
FARTHEST = 1e15
"""Of an offset, in sides of the unit square; beyond it nothing changes but overflows."""


class RotatedPair(NamedTuple):
    """Two rotated boxes in the frame of the first, which has the longest side; lengths in that side."""

    width: Tensor
    height: Tensor
    other_width: Tensor
    other_height: Tensor
    along: Tensor
    """Offset of the other's centre, along the width."""
    down: Tensor
    cos: Tensor
    """Of the angle from the first to the other."""
    sin: Tensor
    empty: Tensor
    """bool, where a side was too short to count."""


def compare_rotated(boxes: Tensor, target_boxes: Tensor) -> RotatedPair:
    """Compare rotated boxes ``(..., 5)`` with targets of a broadcastable shape, in float32 or float64."""
    boxes, target_boxes = broadcast(to_compute(boxes), target_boxes.to(compute_dtype(boxes)))
    swap = boxes[..., 2:4].amax(-1, keepdim=True) < target_boxes[..., 2:4].amax(-1, keepdim=True)
    x, y, width, height, angle = torch.where(swap, target_boxes, boxes).unbind(-1)
    other_x, other_y, other_width, other_height, other_angle = torch.where(swap, boxes, target_boxes).unbind(-1)
    unit = torch.maximum(width, height).detach()
    unit = torch.where(unit <= 0, 1.0, unit)
    x, y = (other_x - x) / unit, (other_y - y) / unit
    cos, sin = angle.cos(), angle.sin()
    turn = other_angle - angle
    sides = torch.stack([width, height, other_width, other_height]) / unit
    width, height, other_width, other_height = sides.clamp(min=SMALLEST_SIDE).unbind()
    return RotatedPair(
        width,
        height,
        other_width,
        other_height,
        along=cos * x + sin * y,
        down=cos * y - sin * x,
        cos=turn.cos(),
        sin=turn.sin(),
        empty=sides.amin(0) <= SMALLEST_SIDE,
    )


def rotated_box_iou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Intersection over union of rotated boxes, in [0, 1].

    Shapes:
        boxes, target_boxes: (..., 5) as ``(cx, cy, w, h, a)``, broadcastable, any unit, any angles.
        returns: (...), float32 (float64 for float64 boxes).

    Example:
        A square, and the same turned by an eighth: the octagon they share over the star they cover.

        >>> square = torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0])
        >>> rotated_box_iou(square, torch.tensor([0.0, 0.0, 2.0, 2.0, 0.7854]))
        tensor(0.7071)
    """
    return rotated_pair_iou(compare_rotated(boxes, target_boxes))


def rotated_box_giou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Generalised IoU of rotated boxes, in [-1, 1]: IoU minus the empty part of the convex hull of the two.

        GIoU = IoU - (C - U) / C,   C = area of the convex hull,   U = area of the union

    Reference:
        Rezatofighi et al. 2019, arXiv:1902.09630, Algorithm 1, whose C is the smallest convex set.

    Differs:
        Rotated_IoU and others take the smallest upright or rotated rectangle for C: it is larger, and turns with the
        boxes' angles even where neither box does. Upright boxes have a hull smaller than their enclosing box too, so
        that the value is not that of :func:`box_giou`.
    """
    pair = compare_rotated(boxes, target_boxes)
    intersection, union = _intersection_and_union(pair)
    hull = torch.maximum(_hull_area(pair), union)  # equal ones may differ by rounding
    return intersection / union - (hull - union) / hull


def rotated_box_diou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Distance IoU of rotated boxes, in [-1, 1]: IoU minus the centres' squared distance over the squared diameter.

        DIoU = IoU - d² / c²,   c = largest distance between two of the eight corners

    Reference:
        Zheng et al. 2020, arXiv:1911.08287.

    Differs:
        The paper's c is the diagonal of the upright enclosing box, which depends on how the pair lies in the image; the
        diameter does not. For upright boxes it is at most that diagonal.
    """
    pair = compare_rotated(boxes, target_boxes)
    return rotated_pair_iou(pair) - _center_distance(pair)


def rotated_pair_iou(pair: RotatedPair) -> Tensor:
    """See :func:`rotated_box_iou`."""
    intersection, union = _intersection_and_union(pair)
    return intersection / union


def _intersection_and_union(pair: RotatedPair) -> tuple[Tensor, Tensor]:
    """Areas, in that of the unit square."""
    area = (pair.other_width / pair.width) * (pair.other_height / pair.height)
    # Bounded by both areas, which rounding may miss by its last digit.
    shared = torch.minimum(_shared_area(pair), area).clamp(max=1)
    return shared, 1 + area - shared


def _offsets(pair: RotatedPair) -> tuple[Tensor, Tensor]:
    """Of the other's centre, in sides of the unit square."""
    along, down = pair.along / pair.width, pair.down / pair.height
    return along.clamp(-FARTHEST, FARTHEST), down.clamp(-FARTHEST, FARTHEST)


def _corners(pair: RotatedPair) -> tuple[Tensor, Tensor]:
    """Of the other box from its centre, ``(4, ...)``, clockwise, in sides of the unit square."""
    along_x, along_y = pair.other_width * pair.cos / pair.width / 2, pair.other_width * pair.sin / pair.height / 2
    down_x, down_y = -pair.other_height * pair.sin / pair.width / 2, pair.other_height * pair.cos / pair.height / 2
    return _four(along_x, down_x), _four(along_y, down_y)


def _four(along: Tensor, down: Tensor) -> Tensor:
    return torch.stack([-along - down, along - down, along + down, down - along])


def _shared_area(pair: RotatedPair) -> Tensor:
    """Area of the parallelogram inside the unit square."""
    points, center = _corners(pair), _offsets(pair)
    # Where a box has no area, the shared one is 0, or steps to 1: there is no slope to tell.
    x, y = (torch.where(pair.empty, axis.detach(), axis) for axis in points)
    center_x, center_y = (torch.where(pair.empty, axis.detach(), axis) for axis in center)
    for side in (1, -1):
        x, y = _cut_at(side * x, y, 0.5 - side * center_x)
        x = side * x
    for side in (1, -1):
        y, x = _cut_at(side * y, x, 0.5 - side * center_y)
        y = side * y
    return polygon_area(x, y).clamp(min=0) + 0 * (pair.along + pair.down + pair.cos)  # NaN must be seen


def _cut_at(along: Tensor, across: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Keep what has ``along <= level``."""
    cut = cut_polygon(level - along)
    return keep_inside(along, cut, on_line=level), keep_inside(across, cut)


def _hull_area(pair: RotatedPair) -> Tensor:
    """Area of the convex hull of both boxes, in that of the unit square: its corners and the other's, one by one."""
    corner_x, corner_y = _corners(pair)
    center_x, center_y = _offsets(pair)
    half = torch.full_like(center_x, 0.5)
    x, y = torch.stack([-half, half, half, -half]), torch.stack([-half, -half, half, half])
    area = torch.ones_like(center_x)
    for point_x, point_y in zip(corner_x + center_x, corner_y + center_y, strict=True):
        x, y, added = add_to_hull(x, y, point_x, point_y)
        area = area + added
    return area


def _center_distance(pair: RotatedPair) -> Tensor:
    """Squared distance of the centres over the squared diameter of all corners."""
    unit = (1 + pair.along.abs() + pair.down.abs()).detach()  # so that no square overflows
    width, height, other_width, other_height = (side / unit for side in pair[:4])
    along, down = pair.along / unit, pair.down / unit
    corner_x = _four(other_width * pair.cos / 2, -other_height * pair.sin / 2) + along
    corner_y = _four(other_width * pair.sin / 2, other_height * pair.cos / 2) + down
    # The farthest corner of the first box is on the other side of its centre.
    between = (corner_x.abs() + width / 2).square() + (corner_y.abs() + height / 2).square()
    diagonals = torch.stack([width.square() + height.square(), other_width.square() + other_height.square()])
    diameter = torch.cat([between, diagonals]).amax(0)
    return (along.square() + down.square()) / or_one(diameter)

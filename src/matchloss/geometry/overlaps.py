"""The IoU family of axis-aligned boxes from one engine, for losses and for assigners.

Every measure is made from `BoxPair`, in which lengths are fractions of the enclosing box. Nothing has an absolute
epsilon: boxes of side 1e-4 and of 1e6 are treated alike, and no area can overflow. Two boxes are compared axis by axis.
An inverted box counts as empty. Where both boxes shrink to the same point of an axis, they overlap fully on it, so
that a box without area has IoU 1 with itself, and two different ones 0.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import compute_dtype, or_one, to_compute

SMALLEST_SIDE = 1e-4
"""Of the enclosing box: the aspect ratio of anything narrower is noise, with a gradient that overflows float16."""


class Axis(NamedTuple):
    """Two intervals on one axis, measured by the interval that encloses both."""

    size: Tensor
    target_size: Tensor
    overlap: Tensor
    shift: Tensor
    """Centre minus centre of the target."""
    hull: Tensor
    """Length of the enclosing interval, in the unit of the boxes; all others are fractions of it."""


class BoxPair(NamedTuple):
    """Boxes beside their targets."""

    x: Axis
    y: Axis


def compare_boxes(boxes: Tensor, target_boxes: Tensor) -> BoxPair:
    """Compare xyxy boxes ``(..., 4)`` with targets of a broadcastable shape, in float32 or float64."""
    x1, y1, x2, y2 = to_compute(boxes).unbind(-1)
    target_x1, target_y1, target_x2, target_y2 = target_boxes.to(compute_dtype(boxes)).unbind(-1)
    return BoxPair(_axis(x1, x2, target_x1, target_x2), _axis(y1, y2, target_y1, target_y2))


def _axis(low: Tensor, high: Tensor, target_low: Tensor, target_high: Tensor) -> Axis:
    size, target_size = (high - low).clamp(min=0), (target_high - target_low).clamp(min=0)
    overlap = (torch.minimum(high, target_high) - torch.maximum(low, target_low)).clamp(min=0)
    # Of all four ends: one end of an inverted box may stick out of the rest, and must still feel a pull.
    right = torch.maximum(torch.maximum(high, low), torch.maximum(target_high, target_low))
    left = torch.minimum(torch.minimum(high, low), torch.minimum(target_high, target_low))
    hull = right - left
    shift = ((high - target_high) + (low - target_low)) / 2
    # Two equal points: as if all lengths were 1.
    point = (hull == 0).to(hull.dtype)
    unit = hull + point
    return Axis((size + point) / unit, (target_size + point) / unit, (overlap + point) / unit, shift / unit, hull)


def pairwise(overlap: Callable[[Tensor, Tensor], Tensor], boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Compare each of ``(..., M, 4)`` with each of ``(..., A, 4)``, giving ``(..., M, A)``.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0]])
        >>> pairwise(box_iou, boxes, boxes)
        tensor([[1., 0.],
                [0., 1.]])
    """
    return overlap(boxes.unsqueeze(-2), target_boxes.unsqueeze(-3))


def box_iou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Intersection over union, in [0, 1].

    Example:
        >>> box_iou(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 3.0, 2.0]))
        tensor(0.3333)
    """
    return pair_iou(compare_boxes(boxes, target_boxes))


def box_giou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Generalised IoU, in [-1, 1]: IoU minus the empty part of the enclosing box (Rezatofighi et al. 2019)."""
    return pair_giou(compare_boxes(boxes, target_boxes))


def box_diou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Distance IoU, in [-1, 1]: IoU minus the centres' squared distance over the diagonal's (Zheng et al. 2020)."""
    return pair_diou(compare_boxes(boxes, target_boxes))


def box_ciou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Complete IoU: distance IoU minus the difference of the aspect ratios (Zheng et al. 2020)."""
    return pair_ciou(compare_boxes(boxes, target_boxes))


def box_eiou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """Efficient IoU: distance IoU minus the differences of width and of height (Zhang et al. 2021)."""
    return pair_eiou(compare_boxes(boxes, target_boxes))


def box_siou(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """IoU minus distances that count more off the diagonal, and differences of shape (Gevorgyan 2022)."""
    return pair_siou(compare_boxes(boxes, target_boxes))


def pair_iou(pair: BoxPair) -> Tensor:
    """See :func:`box_iou`."""
    intersection, union = intersection_and_union(pair)
    return intersection / or_one(union)


def pair_giou(pair: BoxPair) -> Tensor:
    """See :func:`box_giou`."""
    intersection, union = intersection_and_union(pair)
    return intersection / or_one(union) - (1 - union)


def pair_diou(pair: BoxPair) -> Tensor:
    """See :func:`box_diou`."""
    return pair_iou(pair) - center_distance(pair, relative_hull(pair))


def pair_ciou(pair: BoxPair) -> Tensor:
    """See :func:`box_ciou`."""
    hull = relative_hull(pair)
    iou, aspect = pair_iou(pair), aspect_difference(pair, hull)
    with torch.no_grad():
        trade_off = aspect / or_one(1 - iou + aspect)  # of two equal boxes 0, not 0 / 0
    return iou - center_distance(pair, hull) - trade_off * aspect


def pair_eiou(pair: BoxPair) -> Tensor:
    """See :func:`box_eiou`."""
    wider = (pair.x.size - pair.x.target_size).square()
    higher = (pair.y.size - pair.y.target_size).square()
    return pair_diou(pair) - wider - higher


def pair_siou(pair: BoxPair, *, theta: float = 4.0) -> Tensor:
    """See :func:`box_siou`; ``theta`` is how much small differences of shape are forgiven."""
    x, y = pair
    gamma = 2 - _off_axis(pair)
    distance = 2 - torch.exp(-gamma * x.shift.square()) - torch.exp(-gamma * y.shift.square())
    shape = (1 - torch.exp(-size_difference(x))) ** theta + (1 - torch.exp(-size_difference(y))) ** theta
    return pair_iou(pair) - (distance + shape) / 2


def intersection_and_union(pair: BoxPair) -> tuple[Tensor, Tensor]:
    """Areas as fractions of the enclosing box."""
    x, y = pair
    intersection = x.overlap * y.overlap
    return intersection, x.size * y.size + x.target_size * y.target_size - intersection


def relative_hull(pair: BoxPair) -> tuple[Tensor, Tensor]:
    """Sides of the enclosing box over the longer one: their squares neither overflow nor vanish."""
    longer = or_one(torch.maximum(pair.x.hull, pair.y.hull).detach())
    return pair.x.hull / longer, pair.y.hull / longer


def center_distance(pair: BoxPair, hull: tuple[Tensor, Tensor]) -> Tensor:
    """Squared distance of the centres over the squared diagonal of the enclosing box, of which `hull` are the sides."""
    across, down = center_offset(pair, hull)
    return (across.square() + down.square()) / hull_diagonal(hull)


def center_offset(pair: BoxPair, hull: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Centre minus centre of the target, over the longer side of the enclosing box."""
    return pair.x.shift * hull[0], pair.y.shift * hull[1]


def hull_diagonal(hull: tuple[Tensor, Tensor]) -> Tensor:
    """Squared diagonal of the enclosing box over its squared longer side; never 0, to divide by."""
    return or_one(hull[0].square() + hull[1].square())


def aspect_difference(pair: BoxPair, hull: tuple[Tensor, Tensor]) -> Tensor:
    """``4 / π² (atan(w_t / h_t) - atan(w / h))²``, in [0, 1]."""
    width, height = hull
    angle = _side_angle(pair.x.size * width, pair.y.size * height)
    target_angle = _side_angle(pair.x.target_size * width, pair.y.target_size * height)
    return (2 / math.pi * (target_angle - angle)).square()


def _side_angle(width: Tensor, height: Tensor) -> Tensor:
    return torch.atan2(width.clamp(min=SMALLEST_SIDE), height.clamp(min=SMALLEST_SIDE))


def size_difference(axis: Axis) -> Tensor:
    """Difference of the sides over the larger one, in [0, 1]."""
    larger = or_one(torch.maximum(axis.size, axis.target_size))
    return (axis.size - axis.target_size).abs() / larger


def _off_axis(pair: BoxPair) -> Tensor:
    """``sin 2a`` of the angle between an axis and the line of the centres: 0 on an axis, 1 on the diagonal.

    The paper's ``1 - 2 sin²(arcsin s - π/4)`` without its arcsin, whose gradient is infinite on an axis.
    """
    across, down = center_offset(pair, relative_hull(pair))
    return 2 * (across * down).abs() / or_one(across.square() + down.square())

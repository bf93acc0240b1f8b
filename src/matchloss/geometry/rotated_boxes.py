"""Rotated boxes ``(cx, cy, w, h, a)``: corners, and the angle conventions of the field."""

import math
from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, to_compute

AngleConvention = Literal["radians", "le90", "le135", "oc", "oc_old", "east"]

# Lowest angle, whether the lowest itself belongs to the range, and whether the width is the longer side.
RANGES = {
    "le90": (-math.pi / 2, True, True),
    "le135": (-math.pi / 4, True, True),
    "oc": (0.0, False, False),
    "oc_old": (-math.pi / 2, True, False),
    "east": (-math.pi / 4, True, False),
}


def rotated_corners(boxes: Tensor) -> Tensor:
    """Corners of rotated boxes, clockwise on the screen from the box's own top left.

        c = (cx, cy) ± w/2 · (cos a, sin a) ± h/2 · (-sin a, cos a)

    Shapes:
        boxes: (..., 5), the angle in radians from +x towards +y, which is clockwise on the screen.
        returns: (..., 4, 2), float32 (float64 for float64).

    Example:
        A quarter turn sends the top left corner to the top right.

        >>> rotated_corners(torch.tensor([2.0, 1.0, 4.0, 2.0, torch.pi / 2])).round().tolist()
        [[3.0, -1.0], [3.0, 3.0], [1.0, 3.0], [1.0, -1.0]]
    """
    x, y, width, height, angle = to_compute(boxes).unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    along = torch.stack([width * cos, width * sin], dim=-1) / 2
    down = torch.stack([-height * sin, height * cos], dim=-1) / 2
    center = torch.stack([x, y], dim=-1)
    offsets = torch.stack([-along - down, along - down, along + down, down - along], dim=-2)
    return center.unsqueeze(-2) + offsets


def corners_to_rotated(quads: Tensor) -> Tensor:
    """Rotated boxes from the corners of rectangles, the inverse of :func:`rotated_corners`; the angle is in [-π, π].

    Opposite sides are averaged, so that rounded corners give the nearest rectangle; for the rectangle around any
    quad see :func:`enclosing_rectangles`. A box without width has its angle from its height.

    Shapes:
        quads: (..., 4, 2), clockwise on the screen from the top left.
        returns: (..., 5), float32 (float64 for float64).

    Example:
        >>> corners_to_rotated(torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]))
        tensor([2., 1., 4., 2., 0.])
    """
    quads = to_compute(quads)
    origin = quads[..., :1, :]
    a, b, c, d = (quads - origin).unbind(-2)
    along, down = (b - a + c - d) / 2, (d - a + c - b) / 2
    center = origin[..., 0, :] + (a + b + c + d) / 4
    # Both sides tell the direction, the longer one better; where there is neither, the angle is 0 and has no slope.
    x, y = along[..., 0] + down[..., 1], along[..., 1] - down[..., 0]
    point = (x == 0) & (y == 0)
    angle = torch.atan2(torch.where(point, 0.0, y), torch.where(point, 1.0, x))
    return torch.cat([center, torch.stack([_length(along), _length(down), angle], dim=-1)], dim=-1)


def _length(vectors: Tensor) -> Tensor:
    """Of ``(..., 2)``; without overflow, and without a slope of infinity at 0."""
    x, y = vectors.unbind(-1)
    point = (x == 0) & (y == 0)
    return torch.where(point, 0.0, torch.hypot(torch.where(point, 1.0, x), y))


def convert_angles(boxes: Tensor, source: AngleConvention, target: AngleConvention) -> Tensor:
    """The same rectangles under another convention of side and angle; all angles in radians.

    ============  ==========================================  =======================================================
    ``radians``   any angle, sides as they are                matchloss; as a target it changes nothing but the sign
    ``le90``      [-π/2, π/2), the width is the longer side   mmrotate
    ``le135``     [-π/4, 3π/4), the width is the longer side  mmrotate
    ``oc``        (0, π/2]                                    OpenCV 4.5.1 to 4.12, mmrotate
    ``oc_old``    [-π/2, 0)                                   OpenCV before 4.5.1, and again from 4.13
    ``east``      (-π/4, π/4], counter-clockwise              argman's EAST; all others are clockwise on the screen
    ============  ==========================================  =======================================================

    OpenCV itself counts in degrees. Every target but ``radians`` forgets which side is the top: the corners are the
    same, but may start elsewhere.

    Shapes:
        boxes: (..., 5).
        returns: (..., 5), float32 (float64 for float64).

    Raises:
        ValueError: an unknown convention.

    Example:
        >>> convert_angles(torch.tensor([0.0, 0.0, 2.0, 4.0, 0.0]), "radians", "le90")
        tensor([ 0.0000,  0.0000,  4.0000,  2.0000, -1.5708])
    """
    check_option("convert_angles", "source", source, ("radians", *RANGES))
    check_option("convert_angles", "target", target, ("radians", *RANGES))
    x, y, width, height, angle = to_compute(boxes).unbind(-1)
    if source == "east":
        angle = -angle
    if target != "radians":
        low, closed, longest_first = RANGES[target]
        if longest_first:
            swap = width < height
            angle = _wrap(torch.where(swap, angle + math.pi / 2, angle), low, math.pi, closed)
        else:
            wrapped = _wrap(angle, low, math.pi / 2, closed)
            swap = ((angle - wrapped) / (math.pi / 2)).round().remainder(2) == 1
            angle = wrapped
        width, height = torch.where(swap, height, width), torch.where(swap, width, height)
    return torch.stack([x, y, width, height, -angle if target == "east" else angle], dim=-1)


def _wrap(angle: Tensor, low: float, period: float, closed: bool) -> Tensor:
    """Into [low, low + period), or (low, low + period]; what rounding put on the end left out goes to the other."""
    high = low + period
    angle = angle - ((angle - low) / period).floor() * period
    if closed:
        angle = torch.where(angle < low, angle + period, angle)
        return torch.where(angle >= high, (angle - period).clamp(min=low), angle)
    angle = torch.where(angle > high, angle - period, angle)
    return torch.where(angle <= low, (angle + period).clamp(max=high), angle)

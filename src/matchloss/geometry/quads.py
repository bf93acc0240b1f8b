"""Quadrilaterals: area, winding, shape, and the smallest rectangle around each."""

import torch
from torch import Tensor

from .._core import or_one, to_compute

# Among them are all sides of the convex hull, whatever the order of the corners.
CORNER_PAIRS = ((0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3))

TIE = 1 + 1e-5
"""Areas of rectangles up to so many times the least count as equal: many quads have two, and rounding must not choose.
"""


def cross(a: Tensor, b: Tensor) -> Tensor:
    """``a_x b_y - a_y b_x`` of vectors ``(..., 2)``: positive if b is clockwise from a on the screen."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def length(vectors: Tensor) -> Tensor:
    """Of vectors ``(..., 2)``; but for one in ten million `hypot` rounds to the nearest number, as `norm` does not."""
    return torch.hypot(vectors[..., 0], vectors[..., 1])


def quad_area(quads: Tensor) -> Tensor:
    """Signed area of ``(..., 4, 2)``, positive where the corners run clockwise on the screen.

        A = (c₃ - c₁) × (c₄ - c₂) / 2

    Of a quad that crosses itself it is the difference of the two parts.

    Example:
        >>> quad_area(torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]))
        tensor(8.)
    """
    quads = to_compute(quads)
    return cross(quads[..., 2, :] - quads[..., 0, :], quads[..., 3, :] - quads[..., 1, :]) / 2


def clockwise(quads: Tensor) -> Tensor:
    """The same quads, with corners clockwise on the screen; the first corner stays the first.

    Example:
        >>> clockwise(torch.tensor([[0, 0], [0, 2], [4, 2], [4, 0.0]])).tolist()
        [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]
    """
    reversed_quads = torch.cat([quads[..., :1, :], quads[..., 1:, :].flip(-2)], dim=-2)
    return torch.where((quad_area(quads) < 0)[..., None, None], reversed_quads, quads)


def is_convex(quads: Tensor) -> Tensor:
    """Where no corner of ``(..., 4, 2)`` turns the other way; straight angles and repeated corners count as convex."""
    sides = to_compute(quads).roll(-1, -2) - to_compute(quads)
    turns = cross(sides, sides.roll(-1, -2))
    return (turns >= 0).all(-1) | (turns <= 0).all(-1)


def crosses_itself(quads: Tensor) -> Tensor:
    """Where two opposite sides of ``(..., 4, 2)`` cross, as when two corners were given in the wrong order.

    Example:
        >>> crosses_itself(torch.tensor([[0.0, 0.0], [4.0, 2.0], [4.0, 0.0], [0.0, 2.0]]))
        tensor(True)
    """
    a, b, c, d = to_compute(quads).unbind(-2)
    return _segments_cross(a, b, c, d) | _segments_cross(b, c, d, a)


def _segments_cross(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Where ``ab`` and ``cd`` cross inside both."""
    c_side, d_side = cross(b - a, c - a).sign(), cross(b - a, d - a).sign()
    a_side, b_side = cross(d - c, a - c).sign(), cross(d - c, b - c).sign()
    return (c_side * d_side < 0) & (a_side * b_side < 0)


def enclosing_rectangles(quads: Tensor) -> Tensor:
    """The smallest rectangle around each quad, as a rotated box that is read in the same direction.

        R = argmin over the six directions of two corners of the area of the rectangle in that direction

    A smallest rectangle has a side on the convex hull, and a quad's hull has its sides among the six: the result is
    exact, for quads of any winding, convex or not. Of rectangles whose areas differ by less than a hundred-thousandth
    it takes the first: the sides come in order, then the diagonals. Of the four names that a rectangle has as
    ``(cx, cy, w, h, a)`` it takes the one whose corners follow the quad's: the width runs from the first corner to the
    second.

    Shapes:
        quads: (..., 4, 2).
        returns: (..., 5) rotated boxes, float32 (float64 for float64), the angle in [-π, π]; a quad without an area
        gives a rectangle without one.

    Differs:
        OpenCV's ``minAreaRect`` gives the same rectangle, under an angle whose range has changed three times.
        SakuraRiven's EAST tries 180 whole degrees, and takes one up to 8 % larger.

    Example:
        >>> enclosing_rectangles(torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]]))
        tensor([2., 1., 4., 2., 0.])
    """
    quads = to_compute(quads)
    origin = quads[..., :1, :]
    points = quads - origin  # far from the image's corner, products of coordinates would lose digits
    along = _directions(points)
    towards, arms = along[..., None, :, :], points[..., None, :]
    # (..., 4 corners, 6 directions). A matrix product would round in its own way on each device.
    x, y = (arms * towards).sum(-1), cross(towards, arms)
    x_low, x_high, y_low, y_high = x.amin(-2), x.amax(-2), y.amin(-2), y.amax(-2)
    width, height = x_high - x_low, y_high - y_low
    longest = or_one(torch.maximum(width, height).amax(-1, keepdim=True))
    area = (width / longest) * (height / longest)
    smallest = area <= TIE * area.amin(-1, keepdim=True)
    best = smallest.to(torch.uint8).argmax(-1, keepdim=True)  # the first of them

    def chosen(values: Tensor) -> Tensor:
        return values.gather(-1, best)

    u = torch.cat([chosen(along[..., 0]), chosen(along[..., 1])], dim=-1)
    v = torch.stack([-u[..., 1], u[..., 0]], dim=-1)
    center = origin[..., 0, :] + chosen(x_low + x_high) / 2 * u + chosen(y_low + y_high) / 2 * v
    return _read_along(points, center, chosen(width), chosen(height), u, v)


def _directions(points: Tensor) -> Tensor:
    """Unit vectors ``(..., 6, 2)`` between corners; those of two equal corners point to the right."""
    pairs = torch.stack([points[..., second, :] - points[..., first, :] for first, second in CORNER_PAIRS], dim=-2)
    longer = pairs.abs().amax(-1, keepdim=True)
    right = torch.cat([torch.ones_like(longer), torch.zeros_like(longer)], dim=-1)
    pairs = torch.where(longer > 0, pairs / or_one(longer), right)
    return pairs / length(pairs)[..., None]


def _read_along(points: Tensor, center: Tensor, width: Tensor, height: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Of the four names of a rectangle, that whose sides run best along the quad's."""
    a, b, c, d = points.unbind(-2)
    right, down = (b - a) + (c - d), (d - a) + (c - b)
    straight = (u * right + v * down).sum(-1, keepdim=True)
    turned = (v * right - u * down).sum(-1, keepdim=True)
    quarter = turned.abs() > straight.abs()
    backwards = torch.where(quarter, turned, straight) < 0
    u = torch.where(quarter, v, u)
    u = torch.where(backwards, -u, u)
    width, height = torch.where(quarter, height, width), torch.where(quarter, width, height)
    return torch.cat([center, width, height, torch.atan2(u[..., 1:], u[..., :1])], dim=-1)

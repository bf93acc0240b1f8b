"""Convex polygons of a fixed number of corners: cutting one by a line, adding a point to a hull.

Coordinates are ``(n, ...)``, corners first, clockwise on the screen; each step makes one corner more. A corner may be
repeated, so that the number does not depend on the data. A polygon stays a closed loop whatever the rounding: a
crossing that is off along a line moves no area, as it would if the sides of two polygons were added up one by one.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Cut(NamedTuple):
    """Where a line cuts a convex polygon."""

    inside: Tensor
    """``(n, ...)`` bool, corners that stay."""
    share: Tensor
    """How far along its side each crossing is, 0 where there is none."""
    leaves: Tensor
    """``(...)`` the side on which the polygon goes out; n where it does not."""
    enters: Tensor
    """The side on which it comes back; -1 where it does not."""


def broadcast(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both at their common shape."""
    shape = torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call]
    return first.expand(shape), second.expand(shape)


def following(values: Tensor) -> Tensor:
    """Of each corner the next one."""
    return torch.cat([values[1:], values[:1]])


def preceding(values: Tensor) -> Tensor:
    """Of each corner the one before."""
    return torch.cat([values[-1:], values[:-1]])


def polygon_area(x: Tensor, y: Tensor) -> Tensor:
    """Signed area, positive if clockwise on the screen: a fan of triangles, exactly 0 for a repeated corner."""
    x, y = x[1:] - x[:1], y[1:] - y[:1]
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum(0) / 2


def cut_polygon(distances: Tensor) -> Cut:
    """Cut by a line, from the corners' signed distances to it in any unit: 0 and more is inside."""
    inside = distances >= 0
    crosses = inside != following(inside)
    # Masked before the division: a side along the line has no crossing, and no slope.
    steps = torch.where(crosses, distances - following(distances), 1.0)
    share = torch.where(crosses, distances, 0.0) / steps
    index, count = corner_numbers(distances), distances.shape[0]
    # Rounding may make a side that lies on the line cross it often; any one crossing will do.
    leaves = torch.where(crosses & inside, index, count).amin(0)
    enters = torch.where(crosses & ~inside, index, -1).amax(0)
    return Cut(inside, share, leaves, enters)


def keep_inside(values: Tensor, cut: Cut, *, on_line: Tensor | None = None) -> Tensor:
    """One coordinate of what a cut leaves, ``(n + 1, ...)``; all corners are 0 where that is nothing.

    ``on_line`` is the coordinate's value on the line, where that has only one, exact where corners are far.
    """
    index = corner_numbers(values)
    crossings = values + cut.share * (following(values) - values)
    goes_out = torch.where(index == cut.leaves, crossings, 0.0).sum(0)
    comes_in = torch.where(index == cut.enters, crossings, 0.0).sum(0)
    if on_line is not None:
        goes_out, comes_in = on_line, torch.where(cut.enters >= 0, on_line, 0.0)
    return insert_corner(torch.where(cut.inside, values, comes_in), goes_out, after=cut.leaves)


def insert_corner(values: Tensor, corner: Tensor, *, after: Tensor) -> Tensor:
    """Put a corner behind that of number ``after``; n repeats the last one instead."""
    before = torch.cat([values, values[-1:]])
    behind = torch.cat([values[:1], values])
    slots = corner_numbers(before)
    return torch.where(slots <= after, before, torch.where(slots == after + 1, corner, behind))


def add_to_hull(x: Tensor, y: Tensor, point_x: Tensor, point_y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hull of a convex polygon and a point, and the area it adds: triangles over the sides that the point sees."""
    side_x, side_y = following(x) - x, following(y) - y
    outside = side_y * (point_x - x) - side_x * (point_y - y)
    seen, point = outside > 0, (side_x == 0) & (side_y == 0)
    for _ in range(x.shape[0] - 4):
        seen = seen | (point & preceding(seen))  # between repeated corners: as before them
    hidden = seen & preceding(seen)
    first = torch.where(seen & ~preceding(seen), corner_numbers(x), x.shape[0]).amin(0)
    x = insert_corner(torch.where(hidden, point_x, x), point_x, after=first)
    y = insert_corner(torch.where(hidden, point_y, y), point_y, after=first)
    return x, y, outside.clamp(min=0).sum(0) / 2


def corner_numbers(values: Tensor) -> Tensor:
    """``0 ... n - 1``, to compare with numbers of corners."""
    return torch.arange(values.shape[0], device=values.device).view(-1, *[1] * (values.ndim - 1))

"""Area of the intersection of two convex quadrilaterals."""

import torch
from torch import Tensor

from .._core import compute_dtype, or_one, to_compute
from ._polygons import broadcast, cut_polygon, keep_inside, polygon_area

SMALLEST_SIZE = 1e-12
"""Of the smaller quad, in distances to the other's corners: whatever is less is too small to be seen."""


def convex_intersection(quads: Tensor, other: Tensor) -> Tensor:
    """Area that two convex quads share, exact and differentiable.

        A(P ∩ Q),   P cut by the four sides of Q, one after the other

    For the IoU of words and boxes. The smaller quad is cut by the larger one, as lengths of the smaller one from its
    first corner: neither place nor scale costs digits, and a quad inside the other keeps its own area. Sides that the
    two share count once.

    Shapes:
        quads, other: (..., 4, 2), broadcastable, of any winding. A quad that is not convex, or crosses itself, gives a
        finite number without a meaning.
        returns: (...), in squared units of the coordinates, float32 (float64 for float64 quads).

    Reference:
        Sutherland and Hodgman 1974, Reentrant polygon clipping, with a fixed number of corners.

    Differs:
        Implementations that collect crossings and sort them around their mean take corners within a fixed 1e-6 or so
        for equal: near-identical boxes get 0.58 as their IoU in detectron2, disjoint ones 0.37. Sums of clipped sides
        count a side that both quads share twice.

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
        >>> convex_intersection(square, square + torch.tensor([1.0, 0.0]))
        tensor(2.)
    """
    quads, other = broadcast(to_compute(quads), other.to(compute_dtype(quads)))
    swap = _size(quads) > _size(other)
    quads, other = torch.where(swap, other, quads), torch.where(swap, quads, other)
    origin = quads[..., :1, :].detach()  # a shift and a unit change nothing, and need no gradient
    quads, other = quads - origin, other - origin
    unit = torch.maximum(_size(quads), SMALLEST_SIZE * other.detach().abs().amax((-2, -1), keepdim=True))
    x, y = _columns(quads / or_one(unit))
    other_x, other_y = _columns(other / or_one(unit))
    area = _cut_by(x, y, other_x, other_y) * or_one(unit)[..., 0, 0].square()
    return area + 0 * (quads.sum((-2, -1)) + other.sum((-2, -1)))  # NaN and inf have no inside, but must be seen


def _size(quads: Tensor) -> Tensor:
    """The longer side of the upright box around each."""
    corners = quads.detach()
    return (corners.amax(-2, keepdim=True) - corners.amin(-2, keepdim=True)).amax(-1, keepdim=True)


def _columns(quads: Tensor) -> tuple[Tensor, Tensor]:
    """The coordinates, corners first."""
    x, y = quads.movedim(-2, 0).unbind(-1)
    return x, y


def _cut_by(x: Tensor, y: Tensor, other_x: Tensor, other_y: Tensor) -> Tensor:
    """Area of a convex polygon of about unit size, cut by the sides of another one."""
    winding, area = polygon_area(x, y), polygon_area(other_x, other_y)
    turn = torch.where(area < 0, -1.0, 1.0)
    tolerance = torch.finfo(x.dtype).eps
    for start in range(4):
        end = (start + 1) % 4
        side_x, side_y = other_x[end] - other_x[start], other_y[end] - other_y[start]
        longer = or_one(torch.maximum(side_x.abs(), side_y.abs()).detach())  # only ratios of the distances count
        side_x, side_y = side_x / longer * turn, side_y / longer * turn
        distances = side_x * (y - other_y[start]) - side_y * (x - other_x[start])
        # A corner on the line up to rounding is on it: the slope of a crossing there would be noise.
        cut = cut_polygon(torch.where(distances.abs() <= tolerance, 0.0, distances))
        x, y = keep_inside(x, cut), keep_inside(y, cut)
    shared = (polygon_area(x, y) * torch.where(winding < 0, -1.0, 1.0)).clamp(min=0)
    return torch.where(area == 0, 0.0, shared)

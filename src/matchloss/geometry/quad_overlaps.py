"""Overlaps of quads of any shape, convex or not: each is two triangles."""

import torch
from torch import Tensor

from .._core import compute_dtype, to_compute
from .convex import convex_intersection
from .quads import cross


def quad_intersection(quads: Tensor, other: Tensor) -> Tensor:
    """Area that two quads share; a quad that crosses itself is what the even-odd rule fills, its two triangles.

    Annotators' quads are not always convex. A quad is written as two triangles, of which one is taken away where
    a corner points inwards, so that the sum over pairs of triangles is exact for all of them.

    Shapes:
        quads, other: (..., 4, 2), broadcastable, in any winding.
        returns: (...) area in squared units, float32 (float64 for float64 quads).

    Example:
        An arrowhead in the square around it, and a bow tie of the same corners as the square:

        >>> square = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
        >>> arrow = torch.tensor([[0.0, 0.0], [4.0, 2.0], [0.0, 4.0], [2.0, 2.0]])
        >>> quad_intersection(torch.stack([arrow, square[[0, 2, 1, 3]]]), square)
        tensor([4., 8.])
    """
    quads, other = to_compute(quads), other.to(compute_dtype(quads))
    (first, first_sign), (second, second_sign) = _triangles(quads), _triangles(other)
    shared = convex_intersection(first.unsqueeze(-3), second.unsqueeze(-4))
    return (shared * first_sign.unsqueeze(-1) * second_sign.unsqueeze(-2)).sum((-2, -1)).clamp(min=0)


def filled_area(quads: Tensor) -> Tensor:
    """Area that a quad fills, in any winding; of one that crosses itself, that of both triangles.

    Example:
        >>> filled_area(torch.tensor([[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]]))
        tensor(8.)
    """
    triangles, sign = _triangles(to_compute(quads))
    return (sign * _twice_area(triangles) / 2).sum(-1).clamp(min=0)


def quad_iou(quads: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of quads of any shape; 0 where both are without area.

    Shapes:
        quads, other: (..., 4, 2), broadcastable, in any winding.
        returns: (...) in [0, 1].

    Example:
        >>> square = torch.tensor([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
        >>> quad_iou(square, square + torch.tensor([2.0, 0.0]))
        tensor(0.3333)
    """
    shared = quad_intersection(quads, other)
    union = filled_area(quads) + filled_area(other) - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1.0), 0.0).clamp(max=1)


def _triangles(quads: Tensor) -> tuple[Tensor, Tensor]:
    """``(..., 2, 4, 2)`` triangles as clockwise quads with a corner twice, and ``(..., 2)`` 1, or -1 to take away."""
    a, b, c, d = quads.unbind(-2)
    fan = torch.stack([torch.stack([a, b, c], -2), torch.stack([a, c, d], -2)], -3)
    twice = _twice_area(fan)
    sign = twice.sign() * twice.sum(-1, keepdim=True).sign()
    # Of a quad that crosses itself, each triangle has one side of the two that do not cross.
    first, first_at = _crossing(a, b, c, d)
    second, second_at = _crossing(b, c, d, a)
    lobes = torch.stack([torch.stack([first_at, b, c], -2), torch.stack([first_at, d, a], -2)], -3)
    others = torch.stack([torch.stack([second_at, c, d], -2), torch.stack([second_at, a, b], -2)], -3)
    triangles = torch.where(first[..., None, None, None], lobes, fan)
    triangles = torch.where(second[..., None, None, None], others, triangles)
    sign = torch.where((first | second).unsqueeze(-1), 1.0, sign)
    clockwise = torch.where((_twice_area(triangles) < 0)[..., None, None], triangles.flip(-2), triangles)
    return torch.cat([clockwise, clockwise[..., :1, :]], -2), sign


def _crossing(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the sides a-b and c-d cross, and where."""
    side, other = b - a, d - c
    from_c, from_d = cross(side, c - a), cross(side, d - a)
    from_a, from_b = cross(other, a - c), cross(other, b - c)
    crossing = (from_c * from_d < 0) & (from_a * from_b < 0)
    share = from_a / torch.where(crossing, from_a - from_b, 1.0)
    return crossing, a + torch.where(crossing, share, 0.0).unsqueeze(-1) * side


def _twice_area(polygons: Tensor) -> Tensor:
    """Positive when clockwise on the screen; of triangles, also with the first corner again at the end."""
    first = polygons[..., 0, :]
    return cross(polygons[..., 1, :] - first, polygons[..., 2, :] - first)

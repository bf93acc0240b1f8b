"""EAST's geometry: distances from a point to the four edges of a rotated rectangle, and its angle.

The map's angle is counter-clockwise on the screen, positive where text rises to the right; that of a
rotated box is clockwise.
"""

from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, compute_dtype, to_compute

DistanceOrder = Literal["trbl", "tblr"]
DISTANCE_ORDERS: dict[DistanceOrder, tuple[int, int, int, int]] = {"trbl": (0, 1, 2, 3), "tblr": (0, 2, 3, 1)}
"""Where each order has its entries in "trbl": top, right, bottom, left, as in the paper; "tblr" is SakuraRiven's."""


def reorder_edges(edges: Tensor, source: DistanceOrder, target: DistanceOrder, *, dim: int = -1) -> Tensor:
    """Distances in another order.

    Shapes:
        edges: four entries in ``dim``.

    Example:
        >>> reorder_edges(torch.tensor([1.0, 2.0, 3.0, 4.0]), "trbl", "tblr")
        tensor([1., 3., 4., 2.])
    """
    check_option("reorder_edges", "source", source, tuple(DISTANCE_ORDERS))
    check_option("reorder_edges", "target", target, tuple(DISTANCE_ORDERS))
    if edges.shape[dim] != 4:
        raise ValueError(f"reorder_edges: expected four distances in dim {dim}, got shape {tuple(edges.shape)}")
    if source == target:
        return edges
    place = DISTANCE_ORDERS[source].index
    entries = edges.unbind(dim)
    return torch.stack([entries[place(edge)] for edge in DISTANCE_ORDERS[target]], dim=dim)


def rotated_from_edges(points: Tensor, edges: Tensor, angles: Tensor) -> Tensor:
    """Rotated boxes around points.

        a = -θ,   (cx, cy) = p + R(a) · ((right - left) / 2, (bottom - top) / 2),   w = left + right,   h = top + bottom

    The closed form of what EAST's decoders do corner by corner, in one branch for each sign of the angle.

    Shapes:
        points: (..., 2) in pixels; edges: (..., 4) top, right, bottom, left, in pixels; angles: (...) in radians,
        counter-clockwise on the screen; all broadcastable.
        returns: (..., 5) rotated boxes, float32 (float64 for float64 edges).

    Example:
        >>> rotated_from_edges(torch.tensor([8.0, 4.0]), torch.tensor([1.0, 6.0, 3.0, 2.0]), torch.tensor(0.0))
        tensor([10.,  5.,  8.,  4., -0.])
    """
    dtype = compute_dtype(edges)
    top, right, bottom, left = to_compute(edges).unbind(-1)
    x, y = points.to(dtype).unbind(-1)
    angles = -angles.to(dtype)
    cos, sin = angles.cos(), angles.sin()
    along, down = (right - left) / 2, (bottom - top) / 2
    columns = (x + cos * along - sin * down, y + sin * along + cos * down, left + right, top + bottom, angles)
    shape = torch.broadcast_shapes(*(column.shape for column in columns))  # type: ignore[no-untyped-call]
    return torch.stack([column.expand(shape) for column in columns], dim=-1)


def edges_from_rotated(points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Distances from points to the edges of rotated boxes, and the angles: the inverse of :func:`rotated_from_edges`.

    A point outside of its box has a negative distance.

    Shapes:
        points: (..., 2) in pixels; boxes: (..., 5); broadcastable.
        returns: (..., 4) top, right, bottom, left, and (...) radians, counter-clockwise on the screen; float32
        (float64 for float64 boxes).

    Example:
        >>> edges_from_rotated(torch.tensor([8.0, 4.0]), torch.tensor([10.0, 5.0, 8.0, 4.0, 0.25]))[1]
        tensor(-0.2500)
    """
    x, y, width, height, angle = to_compute(boxes).unbind(-1)
    point_x, point_y = points.to(compute_dtype(boxes)).unbind(-1)
    cos, sin = angle.cos(), angle.sin()
    # From the point to the centre, along the box's own axes.
    along = cos * (x - point_x) + sin * (y - point_y)
    down = cos * (y - point_y) - sin * (x - point_x)
    edges = torch.stack([height / 2 - down, width / 2 + along, height / 2 + down, width / 2 - along], dim=-1)
    return edges, (-angle).expand(edges.shape[:-1])

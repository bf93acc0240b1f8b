"""Which sampling points lie in a quad: exact, row by row, for quads of any shape.

A point is inside if an odd number of edges cross its row to the right of it. For a convex quad that is the test of four
half-planes; a concave one is right too, and of one that crosses itself both lobes count. A point on a left or an upper
edge is inside, one on a right or a lower edge is not, so that of quads that share an edge one has the points on it.
"""

import torch
from torch import Tensor


def sample_axes(height: int, width: int, stride: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows ``(h,)`` and columns ``(w,)`` of the sampling points, in pixels: cell (i, j) is at y = s i, x = s j."""
    rows = torch.arange(height, device=like.device, dtype=like.dtype) * stride
    columns = torch.arange(width, device=like.device, dtype=like.dtype) * stride
    return rows, columns


def row_crossings(quads: Tensor, rows: Tensor) -> Tensor:
    """``(..., 4, h)``: where each edge of ``(..., 4, 2)`` crosses each row, -inf where it does not.

    Rows are ``(h,)``, or ``(..., 1, h)`` where each quad has its own.
    """
    start_x, start_y = quads.unsqueeze(-2).unbind(-1)
    end_x, end_y = quads.roll(-1, -2).unsqueeze(-2).unbind(-1)
    crosses = (start_y <= rows) != (end_y <= rows)
    drop = end_y - start_y
    slope = (end_x - start_x) / torch.where(drop == 0, 1.0, drop)
    return torch.where(crosses, start_x + (rows - start_y) * slope, -torch.inf)


def covered(crossings: Tensor, columns: Tensor) -> Tensor:
    """``(..., h, w)``: whether each point is inside, from the crossings ``(..., 4, h)``."""
    first, second, third, fourth = ((columns < edge[..., None]) for edge in crossings.unbind(-2))
    return (first ^ second) ^ (third ^ fourth)


def central_cells(quads: Tensor, height: int, width: int, stride: int) -> Tensor:
    """``(...)`` number of the cell whose sampling point is nearest to the centre; -1 where it is not in the quad."""
    first, second, third, fourth = quads.unbind(-2)
    center = (first + second + third + fourth) / 4  # in this order, so that a kernel rounds alike
    column = (center[..., 0] / stride).round().clamp(0, width - 1)
    row = (center[..., 1] / stride).round().clamp(0, height - 1)
    inside = covered(row_crossings(quads, (row * stride)[..., None, None]), (column * stride)[..., None, None])
    cell = row.to(torch.int64) * width + column.to(torch.int64)
    return torch.where(inside[..., 0, 0], cell, -1)

"""How far sampling points are from the outline of a quad."""

import torch
from torch import Tensor


def squared_distances(quads: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``(..., h, w)`` squared distance of each point ``(columns, rows)`` to the nearest edge of ``(..., 4, 2)``."""
    nearest = torch.full((), torch.inf, dtype=quads.dtype, device=quads.device)
    for start, end in zip(quads.unbind(-2), quads.roll(-1, -2).unbind(-2), strict=True):
        edge = (end - start)[..., None, None]
        edge_x, edge_y = edge.unbind(-3)
        right = (columns - start[..., :1])[..., None, :]
        down = (rows - start[..., 1:])[..., None]
        square = edge_x * edge_x + edge_y * edge_y
        along = (right * edge_x + down * edge_y) / torch.where(square == 0, 1.0, square)
        along = along.clamp(0, 1)
        right, down = right - along * edge_x, down - along * edge_y
        nearest = torch.minimum(nearest, right * right + down * down)
    return nearest

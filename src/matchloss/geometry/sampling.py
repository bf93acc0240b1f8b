"""Values of maps at points between their cells, and the points where a mask is least sure of itself."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, compute_dtype, to_compute


def sample_points(
    maps: Tensor, points: Tensor, *, which: Tensor | None = None, mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """Values ``(..., P)`` of maps ``(..., h, w)`` at points ``(..., P, 2)``.

    Points are x and y as fractions of the width and the height, (0, 0) the outer corner of the first cell. Past the
    centre of the outermost cell a map stays at its value: with zeros there, as PointRend and Mask2Former have it, a
    mask would fade along the border of the image. A cell without a share in a value does not reach it, NaN neither.

    Args:
        maps: floats, or bools and integers, of which only the cells that are read become floats.
        points: one set a map; leading dimensions broadcast.
        which: index of the map for each set of points, counted over all leading dimensions of the maps, so that
            several sets read one map and none is copied. By default set and map go together.
        mode: "bilinear" between the centres of four cells, or the "nearest" cell.

    Raises:
        ValueError: an unknown mode.

    Example:
        >>> ramp = torch.tensor([[0.0, 1.0]])
        >>> sample_points(ramp, torch.tensor([[0.25, 0.5], [0.5, 0.5], [1.0, 0.5]]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    check_option("sample_points", "mode", mode, ("bilinear", "nearest"))
    size = maps.shape[-2:]
    if which is None:
        which = torch.arange(maps.shape[:-2].numel(), device=maps.device).view(maps.shape[:-2])
    points = to_compute(points)
    dtype = compute_dtype(maps) if maps.is_floating_point() else points.dtype
    if mode == "nearest":
        return read_cells(maps, which, nearest_cells(points, size)).to(dtype)
    value = torch.zeros((), dtype=dtype, device=maps.device)
    for cells, shares in corner_cells(points, size):
        corner = read_cells(maps, which, cells).to(dtype)
        value = value + shares * torch.where(shares > 0, corner, 0.0)
    return value


def nearest_cells(points: Tensor, size: tuple[int, ...]) -> Tensor:
    """Flat index ``(..., P)`` of the cell of a map of ``(h, w)`` in which each point lies."""
    height, width = size
    x, y = points.unbind(-1)
    return (y * height).long().clamp(0, height - 1) * width + (x * width).long().clamp(0, width - 1)


def corner_cells(points: Tensor, size: tuple[int, ...]) -> Iterator[tuple[Tensor, Tensor]]:
    """The four cells of a map of ``(h, w)`` whose centres surround each point: flat indices ``(..., P)``, and shares.

    Example:
        >>> [(cell.item(), share.item()) for cell, share in corner_cells(torch.tensor([[0.5, 0.25]]), (2, 2))]
        [(0, 0.5), (1, 0.5), (2, 0.0), (3, 0.0)]
    """
    height, width = size
    x, y = points.unbind(-1)
    for row, of_row in _neighbours(y * height - 0.5, height):
        for column, of_column in _neighbours(x * width - 0.5, width):
            yield row * width + column, of_row * of_column


def _neighbours(place: Tensor, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The cells on either side of a place, counted in cells from the centre of the first, and their shares."""
    place = place.clamp(0, length - 1)
    before = place.detach().floor().clamp(max=max(length - 2, 0))
    after = place - before
    yield before.long(), 1 - after
    yield (before.long() + 1).clamp(max=length - 1), after


def read_cells(maps: Tensor, which: Tensor, cells: Tensor) -> Tensor:
    """Values ``(..., P)`` of cells, by flat index, of the maps ``(..., h, w)`` that ``which (...)`` counts out."""
    index = which.unsqueeze(-1) * maps.shape[-2:].numel() + cells
    # A gather and not an index: its gradient is a plain scatter, where that of an index sorts on a GPU.
    return maps.reshape(-1).gather(0, index.reshape(-1)).view(index.shape)


def random_points(
    shape: tuple[int, ...],
    *,
    area: Tensor | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Points ``(*shape, 2)``, x and y as fractions, anywhere or in an area ``(*shape[:-1], 4)`` xyxy of fractions.

    Example:
        >>> area = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
        >>> bool((random_points((1, 100), area=area) <= 0.5).all())
        True
    """
    points = torch.rand((*shape, 2), generator=generator, device=device if area is None else area.device)
    if area is None:
        return points
    low, high = area.to(points.dtype).unsqueeze(-2).chunk(2, -1)
    return low + points * (high - low)


def uncertain_points(points: Tensor, logits: Tensor, count: int) -> Tensor:
    """Those ``(..., count, 2)`` of the points ``(..., P, 2)`` where the logits ``(..., P)`` are nearest to 0.

    The outline is a small part of a mask, and all that is hard about it: these points lie along it. A NaN comes last.

    Example:
        >>> points = torch.tensor([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]])
        >>> uncertain_points(points, torch.tensor([-4.0, 0.1, 5.0]), 2)
        tensor([[0.5000, 0.5000],
                [0.1000, 0.5000]])
    """
    nearest = logits.detach().abs().topk(count, dim=-1, largest=False).indices
    return points.gather(-2, nearest.unsqueeze(-1).expand(*nearest.shape, 2))

"""Points of a feature pyramid, and boxes as distances from a point to its four sides."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import to_compute


class Points(NamedTuple):
    """The points of all levels, one level after the other, each row by row."""

    centers: Tensor
    """``(A, 2)`` x and y in pixels of the image."""
    strides: Tensor
    """``(A,)`` pixels between neighbours."""
    counts: tuple[int, ...]
    """How many points each level has."""


def grid_points(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[float],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Points:
    """Centres of the cells of feature maps of ``(H, W)``, one size and one stride a level.

    Example:
        >>> points = grid_points([(1, 2), (1, 1)], [8, 16])
        >>> points.centers
        tensor([[ 4.,  4.],
                [12.,  4.],
                [ 8.,  8.]])
        >>> points.strides, points.counts
        (tensor([ 8.,  8., 16.]), (2, 1))
    """
    if len(sizes) != len(strides):
        raise ValueError(f"grid_points: expected as many sizes as strides, got {len(sizes)} and {len(strides)}")
    centers, per_point = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        x = (torch.arange(width, device=device, dtype=dtype) + 0.5) * stride
        y = (torch.arange(height, device=device, dtype=dtype) + 0.5) * stride
        centers.append(torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1))
        per_point.append(torch.full((height * width,), float(stride), device=device, dtype=dtype))
    counts = tuple(height * width for height, width in sizes)
    return Points(torch.cat(centers), torch.cat(per_point), counts)


def boxes_from_distances(points: Tensor, distances: Tensor) -> Tensor:
    """Boxes xyxy from distances left, top, right, bottom ``(..., A, 4)`` of points ``(A, 2)``, in one unit.

    Example:
        >>> boxes_from_distances(torch.tensor([[10.0, 10.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
        tensor([[ 9.,  8., 13., 14.]])
    """
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def distances_from_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances left, top, right, bottom from points to the sides of xyxy boxes; negative outside.

    Example:
        >>> distances_from_boxes(torch.tensor([[10.0, 10.0]]), torch.tensor([[9.0, 8.0, 13.0, 14.0]]))
        tensor([[1., 2., 3., 4.]])
    """
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def inside_boxes(points: Tensor, boxes: Tensor, *, margin: float = 0.0) -> Tensor:
    """Whether points ``(..., 2)`` lie inside xyxy boxes ``(..., 4)`` by more than ``margin``; broadcasts.

    Example:
        >>> inside_boxes(torch.tensor([[2.0, 2.0], [4.0, 2.0]]), torch.tensor([0.0, 0.0, 4.0, 4.0]))
        tensor([ True, False])
    """
    x, y = points.unbind(-1)
    x1, y1, x2, y2 = boxes.unbind(-1)
    nearest = torch.minimum(torch.minimum(x - x1, x2 - x), torch.minimum(y - y1, y2 - y))
    return nearest > margin


def expected_distances(sides: Tensor) -> Tensor:
    """Distances, in cells, of sides ``(..., 4 * bins)``: the mean of each side's distribution over 0 .. bins - 1.

    With one bin a side is the distance itself.

    Example:
        >>> expected_distances(torch.tensor([0.0, 0.0, 99.0] * 2 + [0.0, 0.0, 0.0] * 2))
        tensor([2., 2., 1., 1.])
    """
    bins = sides.shape[-1] // 4
    sides = to_compute(sides)
    if bins == 1:
        return sides
    places = torch.arange(bins, device=sides.device, dtype=sides.dtype)
    by_side = sides.reshape(*sides.shape[:-1], 4, bins)
    return (by_side.softmax(-1) * places).sum(-1)

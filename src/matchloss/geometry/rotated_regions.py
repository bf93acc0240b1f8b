"""Which points and boxes lie in rotated boxes."""

import torch
from torch import Tensor

from .._core import or_one
from .convex import convex_intersection
from .edges import edges_from_rotated
from .regions import nothing_set, target_chunks
from .rotated_boxes import rotated_corners


def inside_rotated(points: Tensor, boxes: Tensor, *, margin: float = 0.0) -> Tensor:
    """Whether points ``(..., 2)`` lie inside rotated boxes ``(..., 5)`` by more than ``margin``; broadcasts.

    Example:
        >>> inside_rotated(torch.tensor([[3.0, 3.0], [3.0, -3.0]]), torch.tensor([0.0, 0.0, 10.0, 2.0, torch.pi / 4]))
        tensor([ True, False])
    """
    return edges_from_rotated(points, boxes)[0].amin(-1) > margin


def covered_by_rotated_regions(boxes: Tensor, regions: Tensor, real: Tensor, *, least: float) -> Tensor:
    """Whether one region of its image covers at least this fraction of each rotated box.

    Args:
        boxes: (..., B, A, 5).
        regions: (B, M, 5) in the same unit.
        real: (B, M) bool; the other regions do not count.
        least: fraction of the box's own area; a box without area is in a region or not by its centre.

    Example:
        >>> box = torch.tensor([[[0.0, 0.0, 4.0, 4.0, 0.3]]])
        >>> region = torch.tensor([[[0.0, 0.0, 4.0, 4.0, 0.3 + torch.pi / 4]]])  # all but four corners
        >>> [covered_by_rotated_regions(box, region, torch.tensor([[True]]), least=f).item() for f in (0.82, 0.84)]
        [True, False]
    """
    covered = torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    if nothing_set(real):
        return covered
    places = boxes.shape[-2]
    for chunk in target_chunks(covered.numel() // max(places, 1), real.shape[1], places):
        of_chunk = regions[:, chunk, None]
        share = _covered_share(boxes.unsqueeze(-3), of_chunk.to(boxes.dtype))
        covered = covered | ((share >= least) & real[:, chunk, None]).any(-2)
    return covered


def _covered_share(boxes: Tensor, regions: Tensor) -> Tensor:
    area = boxes[..., 2].clamp(min=0) * boxes[..., 3].clamp(min=0)
    sides = torch.cat([boxes[..., :2], boxes[..., 2:4].clamp(min=0), boxes[..., 4:]], dim=-1)
    shared = convex_intersection(rotated_corners(sides), rotated_corners(regions))
    inside = inside_rotated(boxes[..., :2], regions).to(shared.dtype)
    return torch.where(area > 0, shared / or_one(area), inside)

"""Which boxes lie in regions of their image, in memory that does not grow with the number of regions."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .._core import or_one, use_fast_path

PAIRS_AT_ONCE = 2**20
"""Of targets and places, over the batch: what is held in memory at a time, some 4 MiB a tensor."""


def target_chunks(batch: int, targets: int, places: int) -> Iterator[slice]:
    """Slices of the targets, such that no tensor over (batch, slice, places) grows with their number."""
    step = max(1, PAIRS_AT_ONCE // max(1, batch * places))
    for start in range(0, targets, step):
        yield slice(start, min(start + step, targets))


def nothing_set(mask: Tensor) -> bool:
    """Whether a mask is known to be all False; looked up only where that stalls no device."""
    return mask.numel() == 0 or (mask.device.type == "cpu" and use_fast_path() and not bool(mask.any()))


def covered_by_regions(boxes: Tensor, regions: Tensor, real: Tensor, *, least: float) -> Tensor:
    """Whether one region of its image covers at least this fraction of each box.

    Args:
        boxes: (..., B, A, 4) xyxy.
        regions: (B, M, 4) xyxy in the same unit.
        real: (B, M) bool; the other regions do not count.
        least: fraction of the box's own area.

    Example:
        >>> box = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0]]])
        >>> region = torch.tensor([[[0.0, 0.0, 3.0, 9.0]]])
        >>> covered_by_regions(box, region, torch.tensor([[True]]), least=0.5)
        tensor([[ True, False]])
    """
    covered = torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    if nothing_set(real):
        return covered
    places = boxes.shape[-2]
    for chunk in target_chunks(covered.numel() // max(places, 1), real.shape[1], places):
        share = _covered_share(boxes.unsqueeze(-3), regions[:, chunk, None])
        covered = covered | ((share >= least) & real[:, chunk, None]).any(-2)
    return covered


def _covered_share(boxes: Tensor, regions: Tensor) -> Tensor:
    """Of each box's own area, axis by axis, so that no area can overflow."""
    low, high = torch.maximum(boxes[..., :2], regions[..., :2]), torch.minimum(boxes[..., 2:], regions[..., 2:])
    share = (high - low).clamp(min=0) / or_one((boxes[..., 2:] - boxes[..., :2]).clamp(min=0))
    return share[..., 0] * share[..., 1]

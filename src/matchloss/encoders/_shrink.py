"""The inner part of a word that EAST takes for text: each corner moves in along both of its edges."""

import torch
from torch import Tensor

from .._core import or_one
from ..geometry.quads import length


def shrink_quads(quads: Tensor, *, shrink: float) -> Tensor:
    """Quads ``(..., 4, 2)`` whose edges lose ``shrink`` times a reference length at both ends.

    A corner's reference length is the shorter one of its two edges. The longer pair of opposing edges goes first; the
    other pair then moves along the moved corners, by the reference lengths of the whole word.
    """
    sides = length(quads.roll(-1, -2) - quads)  # from corner i to the next
    reach = shrink * torch.minimum(sides, sides.roll(1, -1))
    first_longer = (sides[..., 0] + sides[..., 2] > sides[..., 1] + sides[..., 3])[..., None]
    # The longer pair to the front: corners 0-1 and 2-3 first, then 1-2 and 3-0.
    turned = torch.where(first_longer[..., None], quads, quads.roll(-1, -2))
    reach = torch.where(first_longer, reach, reach.roll(-1, -1))
    turned = _shorten(turned, reach)
    turned = _shorten(turned.roll(-1, -2), reach.roll(-1, -1)).roll(1, -2)
    return torch.where(first_longer[..., None], turned, turned.roll(1, -2))


def _shorten(quads: Tensor, reach: Tensor) -> Tensor:
    """Move corners 0 and 1 towards each other, and 2 and 3, each by its own reach."""
    starts, ends = quads[..., 0::2, :], quads[..., 1::2, :]
    edge = ends - starts
    unit = edge / or_one(length(edge))[..., None]
    starts = starts + reach[..., 0::2, None] * unit
    ends = ends - reach[..., 1::2, None] * unit
    return torch.stack([starts, ends], dim=-2).flatten(-3, -2)

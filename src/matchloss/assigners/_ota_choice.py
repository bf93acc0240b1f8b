"""Which points each target of :class:`SimOTAAssigner` claims."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._ranking import NEVER, PLACE_BITS, place_of

LATER = 1 << (2 * PLACE_BITS)
"""Added to a key: it comes after those without, and stays in order among those with it."""


class Choice(NamedTuple):
    """What the targets want."""

    places: Tensor
    """``(B, M, K)`` the cheapest points, in order."""
    keys: Tensor
    """``(B, M, K)`` their cost, with the target's row; NEVER where there are fewer."""
    wanted: Tensor
    """``(B, M)`` how many of them the target claims."""

    @classmethod
    def read(cls, keys: Tensor, overlaps: Tensor) -> "Choice":
        """From keys ``(B, M, K)`` that hold the points, and the largest overlaps, of whose sum is the count."""
        places = torch.where(keys < NEVER, place_of(keys), 0)
        return cls(places, with_row(keys, 0), overlaps.sum(-1).long().clamp(min=1))

    def claims(self) -> Tensor:
        """``(B, M, K)`` the keys of what is claimed, NEVER elsewhere."""
        place = torch.arange(self.places.shape[2], device=self.places.device)
        return torch.where(place < self.wanted[..., None], self.keys, NEVER)

    def contested(self, points: int) -> Tensor:
        """``(B, A)``: which points several targets claim."""
        claimed = (self.claims() < NEVER).flatten(1).long()
        return claimed.new_zeros(len(claimed), points).scatter_add(1, self.places.flatten(1), claimed) > 1


def with_row(keys: Tensor, start: int) -> Tensor:
    """Put the target's row in the place of the point, of ``(B, m, *)`` keys; NEVER stays."""
    rows = torch.arange(start, start + keys.shape[1], device=keys.device)[:, None]
    return torch.where(keys < NEVER, keys - place_of(keys) + rows, NEVER)

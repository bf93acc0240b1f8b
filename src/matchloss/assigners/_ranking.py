"""Order with stated ties, which ``topk`` and ``scatter`` leave open: the lowest place first.

A value and a place make one whole number, a key. All keys differ, so every device orders them alike.
"""

import torch
from torch import Tensor

PLACE_BITS = 31
NEVER = 2**63 - 1
"""A key that comes after all others, of what may not be taken."""


def rank_keys(values: Tensor, places: Tensor, *, largest: bool = False) -> Tensor:
    """Keys that order float32 values ``>= 0``, the least (or the largest) first, then by place.

    The bits of floats that are not negative order as the floats do.
    """
    bits = values.float().abs().view(torch.int32)  # abs: -0.0 has the bits of the most negative whole number
    if largest:
        bits = 2**31 - 1 - bits
    keys: Tensor = (bits.to(torch.int64) << PLACE_BITS) | places
    return keys


def place_of(keys: Tensor) -> Tensor:
    """The place that a key was made of."""
    return keys.bitwise_and(2**PLACE_BITS - 1)


def first_places(values: Tensor, k: int) -> Tensor:
    """Places of the k least of ``(..., A)`` values ``>= 0``, in their order."""
    places = torch.arange(values.shape[-1], device=values.device)
    return place_of(rank_keys(values, places).topk(k, largest=False, sorted=True).values)


def first_claim(index: Tensor, keys: Tensor, places: int) -> Tensor:
    """The least key that claims each of so many places, ``(B, A)``, NEVER where none does.

    Args:
        index: (B, M, K) the place claimed.
        keys: (B, M, K) int64, NEVER where nothing is claimed.
        places: A.
    """
    unclaimed = torch.full((len(index), places), NEVER, dtype=torch.int64, device=index.device)
    return unclaimed.scatter_reduce(1, index.flatten(1), keys.flatten(1), "amin")

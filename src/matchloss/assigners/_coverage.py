"""Enough points for every target: what the published assigners do not promise."""

import torch
from torch import Tensor

from ..geometry import nothing_set
from ._ranking import NEVER, first_claim, place_of


def give_missing(owner: Tensor, lists: Tensor, keys: Tensor, least: int) -> Tensor:
    """Give points to targets that hold fewer than ``least``, from the lists of those they could have.

    In each round every such target asks for the first point of its list that is free, or that another target holds
    beyond the first ``least`` of its own list. A point that several ask for goes to the least key, and nobody takes
    it any more. So nobody falls below ``least``, and after K rounds every list is used up.

    Args:
        owner: (B, A) row of each point's target, -1 for none.
        lists: (B, M, K) points in the order in which each target wants them; candidates all different.
        keys: (B, M, K) whole numbers whose low bits are the target's row, NEVER where a point is no candidate.
        least: how many points each target should hold.
    """
    rows = torch.arange(lists.shape[1], device=lists.device)[:, None]
    candidates = keys < NEVER
    on_offer = (owner < 0) | _spare(owner, lists, rows, candidates, least)
    for _ in range(lists.shape[2]):
        hungry = (_held(owner, lists.shape[1]) < least)[..., None] & candidates
        if nothing_set(hungry):
            break
        flat = lists.flatten(1)
        open_ = hungry & on_offer.gather(1, flat).view_as(lists) & (owner.gather(1, flat).view_as(lists) != rows)
        asks = open_ & (open_.cumsum(2) == 1)
        winner = first_claim(lists, torch.where(asks, keys, NEVER), owner.shape[1])
        given = winner < NEVER
        owner = torch.where(given, place_of(winner), owner)
        on_offer = on_offer & ~given
    return owner


def _spare(owner: Tensor, lists: Tensor, rows: Tensor, candidates: Tensor, least: int) -> Tensor:
    """``(B, A)``: points that their targets hold beyond the first ``least`` of their lists."""
    mine = candidates & (owner.gather(1, lists.flatten(1)).view_as(lists) == rows)
    spare = mine & (mine.cumsum(2) > least)
    return torch.zeros_like(owner).scatter_add(1, lists.flatten(1), spare.flatten(1).long()) > 0


def _held(owner: Tensor, targets: int) -> Tensor:
    """``(B, M)`` how many points each target holds."""
    counts = owner.new_zeros(len(owner), targets + 1)  # the first is for the background
    return counts.scatter_add(1, owner + 1, torch.ones_like(owner))[:, 1:]

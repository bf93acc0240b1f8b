"""Who owns each cell of a map, and which cells must not count: the plain form."""

import torch
from torch import Tensor

from ..geometry import target_chunks
from ._raster import covered, row_crossings
from ._words import Words


def own_cells(words: Words, inner: Tensor, spare: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``(B, h, w)``: row in ``words`` of the smallest word whose inner part holds the cell, -1 for none.

    Args:
        words: what may own cells, the smallest first.
        inner: (B, M, 4, 2), the part of each word that counts as text.
        spare: (B, M) number of the cell that a word takes if its inner part holds none, -1 for no such cell.
        rows: (h,) y of the sampling points.
        columns: (w,) x of theirs.
    """
    batch, count = words.valid.shape
    height, width = len(rows), len(columns)
    owner = torch.full((batch, height, width), count, device=inner.device)
    ranks = torch.arange(count, device=inner.device)[:, None, None]
    cells = torch.arange(height * width, device=inner.device).reshape(height, width)
    for chunk in target_chunks(batch, count, height * width):
        inside = covered(row_crossings(inner[:, chunk], rows), columns)
        found = inside.flatten(2).any(-1)[..., None, None]
        claimed = torch.where(found, inside, cells == spare[:, chunk, None, None])
        claimed = claimed & words.learnable[:, chunk, None, None]
        owner = torch.minimum(owner, torch.where(claimed, ranks[chunk], count).amin(1))
    return torch.where(owner < count, owner, -1)


def with_cells(owner: Tensor, count: int) -> Tensor:
    """``(B, count)``: which words own a cell."""
    seen = torch.zeros(len(owner), count + 1, dtype=torch.bool, device=owner.device)
    return seen.scatter(1, owner.flatten(1) + 1, True)[:, 1:]


def countable_cells(words: Words, seen: Tensor, text: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``(B, h, w)``: which cells count: those that are text, and those in no word without text of its own.

    Args:
        words: quads of all words.
        seen: (B, M), which of them are text somewhere; the others would be taught as background.
        text: (B, h, w), which cells are.
        rows: (h,) y of the sampling points.
        columns: (w,) x of theirs.
    """
    batch, count = words.valid.shape
    hidden = torch.zeros_like(text)
    regions = words.valid & ~seen
    for chunk in target_chunks(batch, count, len(rows) * len(columns)):
        inside = covered(row_crossings(words.quads[:, chunk], rows), columns)
        hidden = hidden | (inside & regions[:, chunk, None, None]).any(1)
    return text | ~hidden

"""Score and threshold maps of differentiable binarisation from annotated words: :class:`DBTargetEncoder`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .._core import check_positive, has_numba, or_one, use_fast_path
from ..geometry import target_chunks
from ..types import DBMaps
from ._outline import squared_distances
from ._owners import countable_cells
from ._raster import covered, row_crossings, sample_axes
from ._words import Words, check_stride, read_size, read_words

CALLER = "DBTargetEncoder"


@dataclass(frozen=True, kw_only=True)
class DBTargetEncoder:
    """Maps of where words are, less a margin D, and of the threshold, which is highest on their outlines.

        D = A (1 - r^2) / L,   A area, L length of the outline of a word, d(p) distance of p to it
        score(p) = 1  <=>  p in the word and d(p) >= D
        threshold(p) = low + (high - low) max over words max(0, 1 - d(p) / D)

    A word shrunk or grown by D is the set of points that are D away from its outline, so no polygon is clipped.
    Cell (i, j) stands for the point (x, y) = (stride j, stride i). Cells in a word that is text nowhere do not count
    for the score: it is unreadable (`ignore`), smaller than `min_side`, crosses itself, has no area, or lies between
    the points. It has no part in the threshold. A readable word's own cells always count.

    Shapes:
        quads: B tensors (N, 4, 2), corners x, y in pixels of the input image.
        ignore: B tensors (N,) bool, True for unreadable words.
        size: (H, W) of the input.
        returns: DBMaps of (B, 1, h, w), h = H / stride and w = W / stride rounded up; float32 (float64 for float64);
            threshold_mask is True in the words grown by D.

    Args:
        stride: pixels a cell. The published heads answer for each pixel; at 4 the band about the outline of a small
            word is hardly a cell wide.
        shrink: r of the margin, below 1.
        threshold_range: low and high.
        min_side: words with a shorter side than this many pixels are not taught.

    Raises:
        ValueError: an option out of range, lists that differ in length, tensors of wrong shapes.

    Reference:
        Liao et al. 2020, arXiv:1911.08947, section 3.3 and 3.4, eq. 10.

    Differs:
        The authors' code and mmocr clip integer polygons and fill them with their outline, which makes words up to a
        pixel larger. They measure `min_side` along the axes, and take an unreadable word's cells from readable ones
        too. A word that clipping cuts in several pieces keeps one of them there, or none; here it keeps all.
        On the CPU Numba does it where it is installed; the first call ever compiles for some seconds.

    Example:
        A word of 40 x 20: D = 800 * 0.84 / 120 = 5.6, so of its 20 rows those from 6 to 14 below the top are text.

        >>> word = torch.tensor([[[10.0, 10.0], [50.0, 10.0], [50.0, 30.0], [10.0, 30.0]]])
        >>> maps = DBTargetEncoder()([word], [torch.tensor([False])], (40, 64))
        >>> int(maps.score[0, 0, :, 30].sum()), int(maps.score.sum())
        (9, 261)
        >>> maps.threshold[0, 0, 3:12, 30]  # high at y = 10, low where the grown word ends
        tensor([0.3000, 0.3000, 0.3429, 0.4143, 0.4857, 0.5571, 0.6286, 0.7000, 0.6286])
    """

    stride: int = 1
    shrink: float = 0.4
    threshold_range: tuple[float, float] = (0.3, 0.7)
    min_side: float = 8.0

    def __post_init__(self) -> None:
        check_stride(CALLER, self.stride)
        check_positive(CALLER, "min_side", self.min_side, or_zero=True)
        if not 0 < self.shrink < 1:
            raise ValueError(f"{CALLER}: expected 0 < shrink < 1, got {self.shrink}")
        low, high = self.threshold_range
        if not 0 <= low < high <= 1:
            raise ValueError(f"{CALLER}: expected threshold_range with 0 <= low < high <= 1, got {low} and {high}")

    @torch.no_grad()
    def __call__(self, quads: Sequence[Tensor], ignore: Sequence[Tensor], size: tuple[int, int]) -> DBMaps:
        """Draw the maps of a batch."""
        height, width = read_size(CALLER, size, self.stride)
        words = read_words(CALLER, quads, ignore, min_side=self.min_side)
        outline = (words.quads.roll(-1, -2) - words.quads).norm(dim=-1).sum(-1)
        margin = words.area * (1 - self.shrink**2) / or_one(outline)
        single = words.quads.device.type == "cpu" and words.quads.dtype == torch.float32
        if single and use_fast_path() and has_numba():
            from ..kernels.db_maps_cpu import draw_maps

            score, mask, height_map, near = draw_maps(
                quads=words.quads,
                margin=margin,
                valid=words.valid,
                learnable=words.learnable,
                size=(height, width),
                stride=self.stride,
            )
        else:
            score, mask, height_map, near = self._draw(words, margin, (height, width))
        low, high = self.threshold_range
        return DBMaps(score[:, None], mask[:, None], low + (high - low) * height_map[:, None], near[:, None])

    def _draw(self, words: Words, margin: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The plain form: score, its mask, 1 - d / D and its mask, ``(B, h, w)``."""
        rows, columns = sample_axes(*size, self.stride, margin)
        batch, count = words.valid.shape
        text = torch.zeros(batch, *size, dtype=torch.bool, device=margin.device)
        near, border = text, torch.zeros(batch, *size, dtype=margin.dtype, device=margin.device)
        seen = [words.valid[:, :0]]
        for chunk in target_chunks(batch, count, size[0] * size[1]):
            quads, reach = words.quads[:, chunk], margin[:, chunk, None, None]
            usable = words.learnable[:, chunk, None, None]
            inside = covered(row_crossings(quads, rows), columns) & usable
            square = squared_distances(quads, rows, columns)
            inner = inside & (square >= reach * reach)
            grown = inside | (usable & (square <= reach * reach))
            closeness = torch.where(grown, 1 - square.sqrt() / or_one(reach), 0.0)
            text, near = text | inner.any(1), near | grown.any(1)
            border = torch.maximum(border, closeness.amax(1))
            seen.append(inner.flatten(2).any(-1))
        mask = countable_cells(words, torch.cat(seen, 1), text, rows, columns)
        return text.to(margin.dtype), mask, border, near

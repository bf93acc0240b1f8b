"""Score and geometry maps of EAST from annotated words: :class:`EASTTargetEncoder`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .._core import check_option, check_positive
from ..geometry import DISTANCE_ORDERS, DistanceOrder, edges_from_rotated, enclosing_rectangles, reorder_edges
from ..types import EASTMaps
from ._angles import AngleRule, turn_boxes
from ._owners import countable_cells, own_cells, with_cells
from ._raster import central_cells, sample_axes
from ._shrink import shrink_quads
from ._words import Words, check_stride, may_use_numba, read_size, read_words

CALLER = "EASTTargetEncoder"


@dataclass(frozen=True, kw_only=True)
class EASTTargetEncoder:
    """Maps of what EAST is to say at each cell: is here a word, and where are its sides.

        score(p) = 1  <=>  p in the shrunk word;   corner i moves by shrink * min(its two edges) along both of them
        rbox(p) = distances to the sides of the word's enclosing rectangle of least area, and its angle
        quad(p) = corners - p

    Cell (i, j) stands for the point (x, y) = (stride j, stride i), and is text if that point is in a shrunk word.

    - Where words overlap, the one of the smallest area has the cell, then the one listed first.
    - Cells in a word that is text nowhere do not count: it is unreadable (`ignore`), smaller than `min_side`, crosses
      itself or has no area, or is hidden by other words. A readable word's own cells always count.
    - Corners may lie outside the image, and are turned to clockwise. A word with a corner that is not finite is left
      out.

    Shapes:
        quads: B tensors (N, 4, 2), corners x, y in pixels of the input image, from the word's top left as read.
        ignore: B tensors (N,) bool, True for unreadable words.
        size: (H, W) of the input.
        returns: EASTMaps of (B, ., h, w), h = H / stride and w = W / stride rounded up; float32 (float64 for float64).

    Args:
        stride: pixels a cell.
        geometry: "rbox" for four distances and the angle, "quad" for eight offsets x, y, x, y, ...
        shrink: part of the reference length that an edge loses at each end, below 0.5.
        min_side: words with a shorter side than this many pixels are not taught. Below 8 hardly any word is readable:
            in ICDAR 2015 one in a thousand of those that people could read.
        one_cell_at_least: whether a word that no sampling point of its shrunk part falls on owns the cell nearest to
            its centre, if that lies in the word. Else small words would be left out by chance.
        distance_order: "trbl" for top, right, bottom, left, or "tblr".
        angle: "reading" for the angle of the line of text in [-90, 90) degrees, "top" being the side from corner 1 to 2
            (of words on their head, to 4 to 3); "folded" for (-45, 45], "top" being the upper side on the screen. The
            angle jumps at the ends of its range: words on end are rarer in photos than those at 45 degrees.

    Raises:
        ValueError: an option out of range, lists that differ in length, tensors of wrong shapes.

    Reference:
        Zhou et al. 2017, arXiv:1704.03155, section 3.3. :meth:`argman` and :meth:`sakura` are github.com/argman/EAST
        and github.com/SakuraRiven/EAST.

    Differs:
        The paper has neither min_side nor one_cell_at_least; :meth:`paper` is without. argman fills polygons at full
        size with their outline, by which a word of 8 pixels has a third more cells, and counts words in a byte, so
        that from the 256th on they are mixed up; later words overwrite earlier ones. SakuraRiven rounds corners to
        cells, by which such a word has 2.5 times its cells, adds up distances where words overlap, and searches
        rectangles in steps of one degree; words under 8 pixels count. In both, don't-care words hide readable ones
        that they overlap. On the CPU Numba does it where it is installed; the first call ever compiles for some
        seconds.

    Example:
        A word of 60 x 20 pixels: each corner moves by 6, which leaves 48 x 8, on which 12 x 2 points fall.

        >>> word = torch.tensor([[[10.0, 10.0], [70.0, 10.0], [70.0, 30.0], [10.0, 30.0]]])
        >>> maps = EASTTargetEncoder()([word], [torch.tensor([False])], (64, 96))
        >>> maps.score.shape, int(maps.score.sum())
        (torch.Size([1, 1, 16, 24]), 24)

        At (x, y) = (40, 20), its centre:

        >>> maps.geometry[0, :, 5, 10]
        tensor([10., 30., 10., 30., -0.])
    """

    stride: int = 4
    geometry: Literal["rbox", "quad"] = "rbox"
    shrink: float = 0.3
    min_side: float = 8.0
    one_cell_at_least: bool = True
    distance_order: DistanceOrder = "trbl"
    angle: AngleRule = "reading"

    def __post_init__(self) -> None:
        check_stride(CALLER, self.stride)
        check_option(CALLER, "geometry", self.geometry, ("rbox", "quad"))
        check_positive(CALLER, "min_side", self.min_side, or_zero=True)
        check_option(CALLER, "distance_order", self.distance_order, tuple(DISTANCE_ORDERS))
        check_option(CALLER, "angle", self.angle, ("reading", "folded"))
        if not 0 <= self.shrink < 0.5:
            raise ValueError(f"{CALLER}: expected 0 <= shrink < 0.5, got {self.shrink}")

    @classmethod
    def paper(cls) -> "EASTTargetEncoder":
        """Every readable word, and only the points of its shrunk part."""
        return cls(min_side=0.0, one_cell_at_least=False)

    @classmethod
    def argman(cls) -> "EASTTargetEncoder":
        """Sides of 10 pixels at least, angles of 45 degrees at most."""
        return cls(min_side=10.0, one_cell_at_least=False, angle="folded")

    @classmethod
    def sakura(cls) -> "EASTTargetEncoder":
        """Top, bottom, left, right."""
        return cls(min_side=0.0, one_cell_at_least=False, distance_order="tblr")

    @torch.no_grad()
    def __call__(self, quads: Sequence[Tensor], ignore: Sequence[Tensor], size: tuple[int, int]) -> EASTMaps:
        """Draw the maps of a batch."""
        cells = read_size(CALLER, size, self.stride)
        words = read_words(CALLER, quads, ignore, min_side=self.min_side)
        if may_use_numba(words.quads):
            return self._draw_fast(words, cells)
        inner = shrink_quads(words.quads, shrink=self.shrink)
        spare = torch.full_like(words.number, -1)
        if self.one_cell_at_least:
            spare = central_cells(words.quads, *cells, self.stride)
        frames = words.quads.flatten(2)
        if self.geometry == "rbox":
            frames = turn_boxes(enclosing_rectangles(words.quads), self.angle)
        return self._draw(words, inner, spare, frames, cells)

    def _draw_fast(self, words: Words, size: tuple[int, int]) -> EASTMaps:
        """The same in a kernel for the CPU."""
        from ..kernels.east_maps_cpu import Style, draw_maps

        return draw_maps(
            quads=words.quads,
            number=words.number,
            valid=words.valid,
            learnable=words.learnable,
            shortest_edge=words.shortest_edge,
            size=size,
            style=Style(
                stride=np.float32(self.stride),
                share=np.float32(self.shrink),
                is_rbox=self.geometry == "rbox",
                is_folded=self.angle == "folded",
                one_cell_at_least=self.one_cell_at_least,
            ),
            channels=tuple(DISTANCE_ORDERS[self.distance_order].index(edge) for edge in range(4)),
        )

    def _draw(self, words: Words, inner: Tensor, spare: Tensor, frames: Tensor, size: tuple[int, int]) -> EASTMaps:
        """The plain form: first whose cell, then what is to be said there."""
        rows, columns = sample_axes(*size, self.stride, inner)
        owner = own_cells(words, inner, spare, rows, columns)
        text = owner >= 0
        seen = with_cells(owner, words.valid.shape[1])
        mask = countable_cells(words, seen, text, rows, columns)
        shape, row = owner.shape, owner.clamp(min=0).flatten(1)
        points = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        frame = frames.gather(1, row[..., None].expand(-1, -1, frames.shape[-1])).reshape(*shape, -1)
        geometry = torch.where(text[..., None], self._seen_from(points, frame), 0.0)
        shortest = torch.where(text, words.shortest_edge.gather(1, row).reshape(shape), 0.0)
        return EASTMaps(
            score=text[:, None].to(frames.dtype),
            geometry=geometry.movedim(-1, 1).contiguous(),
            mask=mask[:, None],
            word_index=torch.where(text, words.number.gather(1, row).reshape(shape), -1),
            shortest_edge=shortest[:, None],
        )

    def _seen_from(self, points: Tensor, frame: Tensor) -> Tensor:
        """``(B, h, w, 5 or 8)``: boxes ``(..., 5)`` or corners ``(..., 8)`` seen from the points ``(h, w, 2)``."""
        if self.geometry == "quad":
            return frame - points.repeat(1, 1, 4)
        edges, angles = edges_from_rotated(points, frame)
        return torch.cat([reorder_edges(edges, "trbl", self.distance_order), angles[..., None]], -1)

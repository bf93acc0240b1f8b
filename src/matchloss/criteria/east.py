"""The training objective of EAST scene text: :class:`EASTCriterion`."""

from typing import Literal

import torch
from torch import Tensor, nn

from .._core import check_float, check_option, check_positive, or_one
from ..geometry.edges import DistanceOrder
from ..losses._region import Form, check_form
from ..losses.dice import dice_of
from ..types import EASTMaps, LossTerms
from ._dense import elementwise
from ._east_geometry import GeometryRows, angle_sum, edge_sum, measure, quad_sum, rotated_sum, take_rows
from ._east_score import (
    Empty,
    ScoreInput,
    ScorePixels,
    balanced_cross_entropy,
    cross_entropy,
    read_score,
    without_text,
)
from ._text_maps import check_bool, check_score, check_shapes
from ._text_sums import Pooled, dice_sums, pool

CALLER = "EASTCriterion"
GeometryMean = Literal["positives", "pixels"]


class EASTCriterion(nn.Module):
    """Text or not at every pixel, and at the pixels of words the box that they belong to.

        L = w_score balanced BCE + w_dice Dice + Σ_positives (w_iou (-log IoU) + w_angle (1 - cos Δθ)) / positives

    For models that say a score and a box at each pixel. The defaults are the paper's. Cross entropy learns slowly and
    leaves false positives; Dice, alone or beside it, is what most ports train on. The presets keep each port's weights
    together with its divisor, since one without the other is off by a factor of about 100.

    Shapes:
        score_logits: (B, 1, h, w); probabilities with `score_input="probabilities"`.
        geometry: (B, 5, h, w), distances > 0 to the four edges in pixels of the input, and the angle in radians,
            counter-clockwise on the screen, as after 512 * sigmoid and the like; or (B, 8, h, w), offsets x and y to
            the four corners. What is off the words may be anything, NaN too.
        maps: EASTMaps of the same size and kind; `mask` False leaves a pixel out everywhere. Positives are the other
            pixels with a score above 1/2.
        normalizer: optional (), replaces the divisor of the geometry terms, for gradient accumulation.
        returns: LossTerms; those of ``score``, ``dice``, ``iou`` and ``angle``, or for corners ``quad``, that are on;
            stats ``positives``, ``valid_pixels``, ``beta``, and but for corners ``mean_iou`` (of the
            edges, at positives) and ``angle_error`` (mean, in radians); all but ``beta`` are of this rank.

    Args:
        geometry_loss: module of rotated boxes (RotatedIoULoss, ProbIoULoss, KLDLoss, GWDLoss, ...) in the place of
            `iou` and `angle`, since it sees both at once; weighted by `iou_weight`. None for the edges' IoU.
        score_weight: factor of the class-balanced cross entropy; None, as for all weights, for no such term.
        dice_weight: factor of Dice over the whole batch.
        iou_weight, angle_weight: factors of the two terms of distances and angle.
        quad_weight: factor of smooth L1 over the corners, in the best of their orders, by the shortest edge.
        geometry_mean: what the geometry terms are divided by: the positives, or all pixels, masked or not.
        empty: what the score terms are where no rank has text: "negatives" plain cross entropy, so that false alarms
            cost; "paper" their formulas, which teach nothing then; "zero" 0.
        score_input: whether scores come as logits, or as probabilities, whose logarithms are of p + 2^-23.
        distance_order: of prediction and maps, "trbl" (top, right, bottom, left) or "tblr".
        iou_smooth: added to both areas of the edges' IoU, in squared pixels.
        dice_form, dice_smooth: as `form` and `smooth` of :func:`matchloss.losses.sigmoid_dice_loss`.

    Raises:
        ValueError: shapes that do not fit, no term for the geometry's kind, a geometry_loss with corners.

    Reference:
        Zhou et al. 2017, EAST, arXiv:1704.03155, section 3.4.

    Differs:
        β, Dice's sums and the divisors are those of all ranks together, in one all-reduce: W processes on a split
        batch are one on the whole. Ports count each rank by itself. Without text in a batch neither the paper's β nor
        Dice leaves the score a gradient, so that ports whose words are all masked stand still; see `empty`. In a batch
        without a valid pixel all terms are 0. -log IoU has no smoothing unless asked for: the ports' + 1 makes it
        depend on the unit. Their form goes below 0 where both sizes of a box are negative.

    Example:
        One pixel of four is text, and its box is half as high as it should be: -log 1/2 for the edges.

        >>> score = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> target = torch.tensor([2.0, 8.0, 2.0, 8.0, 0.0]).view(1, 5, 1, 1) * score
        >>> maps = EASTMaps(score, target, score >= 0, score[0].long() - 1, 4 * score)
        >>> geometry = torch.tensor([1.0, 8.0, 1.0, 8.0, 0.0]).view(1, 5, 1, 1).expand(1, 5, 2, 2)
        >>> loss = EASTCriterion()(torch.zeros(1, 1, 2, 2), geometry, maps)
        >>> {name: round(term.item(), 4) for name, term in loss.terms.items()}
        {'score': 0.2599, 'iou': 0.6931, 'angle': 0.0}
        >>> loss.stats["mean_iou"]
        tensor(0.5000)
    """

    def __init__(
        self,
        *,
        geometry_loss: nn.Module | None = None,
        score_weight: float | None = 1.0,
        dice_weight: float | None = None,
        iou_weight: float | None = 1.0,
        angle_weight: float | None = 10.0,
        quad_weight: float | None = 1.0,
        geometry_mean: GeometryMean = "positives",
        empty: Empty = "negatives",
        score_input: ScoreInput = "logits",
        distance_order: DistanceOrder = "trbl",
        iou_smooth: float = 0.0,
        dice_form: Form = "linear",
        dice_smooth: float = 0.0,
    ) -> None:
        super().__init__()
        check_option(CALLER, "geometry_mean", geometry_mean, ("positives", "pixels"))
        check_option(CALLER, "empty", empty, ("negatives", "paper", "zero"))
        check_option(CALLER, "score_input", score_input, ("logits", "probabilities"))
        check_option(CALLER, "distance_order", distance_order, ("trbl", "tblr"))
        check_form(CALLER, dice_form)
        check_positive(CALLER, "iou_smooth", iou_smooth, or_zero=True)
        check_positive(CALLER, "dice_smooth", dice_smooth, or_zero=True)
        self.geometry_loss = None if geometry_loss is None else elementwise(geometry_loss)
        self.score_weight, self.dice_weight = score_weight, dice_weight
        self.iou_weight, self.angle_weight, self.quad_weight = iou_weight, angle_weight, quad_weight
        self.geometry_mean: GeometryMean = geometry_mean
        self.empty: Empty = empty
        self.score_input: ScoreInput = score_input
        self.distance_order: DistanceOrder = distance_order
        self.iou_smooth, self.dice_smooth = iou_smooth, dice_smooth
        self.dice_form: Form = dice_form

    @classmethod
    def paper(cls) -> "EASTCriterion":
        """Zhou et al.: balanced cross entropy, -log IoU, ten times 1 - cos, over the positives."""
        return cls()

    @classmethod
    def argman(cls) -> "EASTCriterion":
        """argman/EAST: a hundredth of Dice, +1 in the IoU, twenty times 1 - cos, over all pixels.

        Its 1e-5 in Dice's denominator is left out, and so is what it makes of a batch without text, a constant 0.01.
        """
        return cls(score_weight=None, dice_weight=0.01, angle_weight=20.0, geometry_mean="pixels", iou_smooth=1.0)

    @classmethod
    def sakura(cls) -> "EASTCriterion":
        """SakuraRiven/EAST: Dice, +1 in the IoU, ten times 1 - cos, over the positives; 0 without text.

        Distances are top, bottom, left, right. Its 1e-5 in Dice's denominator is left out.
        """
        return cls(score_weight=None, dice_weight=1.0, iou_smooth=1.0, distance_order="tblr", empty="zero")

    def forward(
        self, score_logits: Tensor, geometry: Tensor, maps: EASTMaps, *, normalizer: Tensor | None = None
    ) -> LossTerms:
        """Read the maps once, sum over ranks once, divide once."""
        self._check(score_logits, geometry, maps)
        pixels = read_score(score_logits, maps.score, maps.mask, self.score_input)
        positive = maps.mask & (maps.score > 0.5)
        dice = None
        if self.dice_weight is not None:
            dice = dice_sums(pixels.probabilities, pixels.targets, pixels.valid, self.dice_form)
        located = positive if self.geometry_mean == "positives" else torch.ones_like(positive)
        counts = (pixels.targets.sum(), pixels.valid.sum(), located.sum())
        pooled = pool(counts, dice, pixels.targets.dtype)
        text, valid, located_total = pooled.counts
        beta = 1 - text / or_one(valid)
        terms = self._score_terms(pixels, pooled, beta)
        if normalizer is None:
            normalizer = located_total.clamp(min=1) / pooled.world_size
        rows = take_rows(geometry, maps, positive)
        is_quad = geometry.shape[1] == 8
        sums = self._quad_sums(rows) if is_quad else self._box_sums(rows)
        terms |= {name: value / normalizer for name, value in sums.items()}
        if not terms:
            raise ValueError(f"{CALLER}: expected a term that is on for {geometry.shape[1]} channels, got only None")
        stats = {
            "positives": positive.sum(),
            "valid_pixels": pixels.valid.sum(),
            "beta": beta,
            **({} if is_quad else measure(rows, self.distance_order)),
        }
        return LossTerms(torch.stack(list(terms.values())).sum(), terms, stats)

    def _score_terms(self, pixels: ScorePixels, pooled: Pooled, beta: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the score, already means."""
        text, valid, _ = pooled.counts
        divisor = or_one(valid) / pooled.world_size
        plain = cross_entropy(pixels, divisor)
        terms = {}
        if self.score_weight is not None:
            balanced = balanced_cross_entropy(pixels, beta, divisor)
            terms["score"] = self.score_weight * without_text(balanced, text, plain, self.empty)
        if self.dice_weight is not None and pooled.dice is not None:
            dice = dice_of(pooled.dice, self.dice_smooth)
            terms["dice"] = self.dice_weight * without_text(dice, text, plain, self.empty)
        return terms

    def _box_sums(self, rows: GeometryRows) -> dict[str, Tensor]:
        """Weighted sums over the positives, of distances and angle."""
        sums = {}
        if self.iou_weight is not None:
            if self.geometry_loss is not None:
                iou = rotated_sum(self.geometry_loss, rows, self.distance_order)
            else:
                iou = edge_sum(rows, self.distance_order, self.iou_smooth)
            sums["iou"] = self.iou_weight * iou
        if self.angle_weight is not None and self.geometry_loss is None:
            sums["angle"] = self.angle_weight * angle_sum(rows)
        return sums

    def _quad_sums(self, rows: GeometryRows) -> dict[str, Tensor]:
        """The same of offsets to corners."""
        return {} if self.quad_weight is None else {"quad": self.quad_weight * quad_sum(rows)}

    def _check(self, score_logits: Tensor, geometry: Tensor, maps: EASTMaps) -> None:
        check_score(CALLER, "score_logits", score_logits)
        check_float(CALLER, "geometry", geometry)
        if geometry.ndim != 4 or geometry.shape[1] not in (5, 8):
            raise ValueError(f"{CALLER}: expected geometry of shape (B, 5 or 8, h, w), got {tuple(geometry.shape)}")
        if (len(geometry), *geometry.shape[2:]) != (len(score_logits), *score_logits.shape[2:]):
            size, got = tuple(score_logits.shape), tuple(geometry.shape)
            raise ValueError(f"{CALLER}: expected geometry of the score's batch and size {size}, got {got}")
        if geometry.shape[1] == 8 and self.geometry_loss is not None:
            raise ValueError(f"{CALLER}: expected geometry of 5 channels for a geometry_loss of boxes, got 8")
        check_shapes(
            CALLER,
            {
                "maps.score": (maps.score, score_logits),
                "maps.geometry": (maps.geometry, geometry),
                "maps.mask": (maps.mask, score_logits),
                "maps.shortest_edge": (maps.shortest_edge, score_logits),
            },
        )
        check_bool(CALLER, "maps.mask", maps.mask)

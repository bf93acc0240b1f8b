"""The training objective of differentiable binarisation of scene text: :class:`DBCriterion`."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .._core import check_positive, compute_dtype, keep_valid, or_one, to_compute
from ..losses import binary_cross_entropy_loss, l1_loss
from ..losses._region import apply_empty
from ..losses.dice import dice_of
from ..types import DBMaps, LossTerms
from ._hard_negatives import hard_negatives
from ._text_maps import check_bool, check_score, check_shapes
from ._text_sums import dice_sums, pool

CALLER = "DBCriterion"


class DBCriterion(nn.Module):
    """Text or not at every pixel, a threshold near the outlines, and what a soft comparison of the two gives.

        L = w_score BCE(P, over positives and hard negatives) + w_threshold L1(T) + w_binary Dice(σ(k (P - T)))

    For models of the DBNet family, P and T being the sigmoids of their two maps. Negatives count as far as they are
    the hardest, three a positive. Words that touch are told apart by the threshold, which is high between them.

    Shapes:
        outputs: dict with ``score`` and ``threshold``, logits (B, 1, h, w). What is masked out may be anything.
        maps: DBMaps of the same size: ``mask`` is for score and comparison, ``threshold_mask`` for the threshold.
        returns: LossTerms; those of ``score``, ``threshold`` and ``binary`` that are on; stats ``positives``,
            ``negatives`` (the hard ones that count), ``valid_pixels``, ``threshold_pixels``, of this rank.

    Args:
        score_weight: factor of the cross entropy; None, as for all weights, for no such term.
        threshold_weight: factor of the absolute difference of thresholds.
        binary_weight: factor of Dice over the whole batch.
        negative_ratio: hard negatives a positive, >= 0; their number is rounded down.
        min_negatives: that many count at least, as far as there are so many, so that a batch without text still
            teaches that there is none.
        k: slope of the comparison.
        smooth: of Dice.

    Raises:
        ValueError: shapes that do not fit, a missing output, no term, options below 0.

    Reference:
        Liao et al. 2020, Real-time scene text detection with differentiable binarization, arXiv:1911.08947, the
        part on optimization.

    Differs:
        The paper's L = L_s + α L_b + β L_t has α = 1, β = 10, and cross entropy for L_b too; its code, and most code
        after it, weighs L_s by 5 and takes Dice for L_b, as here. In both, three negatives a positive make none at all
        without text, and Dice has no gradient then: here `min_negatives` count, and the comparison costs its mean.
        The hardest are chosen on each rank by itself, as many as its own positives ask for, the first of equal ones;
        the divisors and Dice's sums are those of all ranks, in one all-reduce.

    Example:
        A positive among three negatives, the score undecided: log 2 for each of the four.

        >>> score = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
        >>> maps = DBMaps(score, score >= 0, torch.full_like(score, 0.5), score > 0)
        >>> outputs = {"score": torch.zeros(1, 1, 2, 2), "threshold": torch.zeros(1, 1, 2, 2)}
        >>> loss = DBCriterion()(outputs, maps)
        >>> {name: round(term.item(), 4) for name, term in loss.terms.items()}
        {'score': 3.4657, 'threshold': 0.0, 'binary': 0.6667}
    """

    def __init__(
        self,
        *,
        score_weight: float | None = 5.0,
        threshold_weight: float | None = 10.0,
        binary_weight: float | None = 1.0,
        negative_ratio: float = 3.0,
        min_negatives: int = 10,
        k: float = 50.0,
        smooth: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(CALLER, "negative_ratio", negative_ratio, or_zero=True)
        check_positive(CALLER, "min_negatives", min_negatives, or_zero=True)
        check_positive(CALLER, "k", k)
        check_positive(CALLER, "smooth", smooth, or_zero=True)
        if score_weight is None and threshold_weight is None and binary_weight is None:
            raise ValueError(f"{CALLER}: expected a weight for at least one term, got None for all")
        self.score_weight, self.threshold_weight, self.binary_weight = score_weight, threshold_weight, binary_weight
        self.negative_ratio, self.min_negatives, self.k, self.smooth = negative_ratio, min_negatives, k, smooth

    def forward(self, outputs: Mapping[str, Tensor], maps: DBMaps) -> LossTerms:
        """Choose the negatives, sum over ranks, divide once."""
        score, threshold = self._read(outputs, maps)
        valid, dtype = maps.mask.flatten(), compute_dtype(score)
        score, wanted = keep_valid(score.flatten().to(dtype), valid), keep_valid(maps.score.flatten().to(dtype), valid)
        entropy = binary_cross_entropy_loss(score, wanted, mask=valid, reduction="none")
        positive = wanted > 0.5
        number = (positive.sum() * self.negative_ratio).floor().clamp(min=self.min_negatives)
        negative = hard_negatives(entropy, valid & ~positive, number)

        dice = None
        if self.binary_weight is not None:
            probabilities = self._compare(score, keep_valid(to_compute(threshold.flatten()), valid))
            dice = dice_sums(probabilities, wanted, valid)
        counted = positive | negative
        pooled = pool((counted.sum(), maps.threshold_mask.sum()), dice, dtype)
        score_total, threshold_total = (or_one(count) / pooled.world_size for count in pooled.counts)
        terms = {}
        if self.score_weight is not None:
            terms["score"] = self.score_weight * keep_valid(entropy, counted).sum() / score_total
        if self.threshold_weight is not None:
            terms["threshold"] = self.threshold_weight * _distance(threshold, maps) / threshold_total
        if self.binary_weight is not None and pooled.dice is not None:
            binary, _ = apply_empty(CALLER, dice_of(pooled.dice, self.smooth), pooled.dice, "penalize")
            terms["binary"] = self.binary_weight * binary
        stats = {
            "positives": positive.sum(),
            "negatives": negative.sum(),
            "valid_pixels": valid.sum(),
            "threshold_pixels": maps.threshold_mask.sum(),
        }
        return LossTerms(torch.stack(list(terms.values())).sum(), terms, stats)

    def _compare(self, score: Tensor, threshold: Tensor) -> Tensor:
        """The soft binary map, of logits."""
        return (self.k * (score.sigmoid() - threshold.sigmoid())).sigmoid()

    def _read(self, outputs: Mapping[str, Tensor], maps: DBMaps) -> tuple[Tensor, Tensor]:
        for name in ("score", "threshold"):
            if name not in outputs:
                raise ValueError(f"{CALLER}: expected outputs with 'score' and 'threshold', got {sorted(outputs)}")
            check_score(CALLER, f"outputs[{name!r}]", outputs[name])
        score, threshold = outputs["score"], outputs["threshold"]
        check_shapes(CALLER, {"outputs['threshold']": (threshold, score)})
        check_shapes(CALLER, {f"maps.{name}": (values, score) for name, values in maps._asdict().items()})
        check_bool(CALLER, "maps.mask", maps.mask)
        check_bool(CALLER, "maps.threshold_mask", maps.threshold_mask)
        return score, threshold


def _distance(threshold: Tensor, maps: DBMaps) -> Tensor:
    """Sum of absolute differences near the outlines, of logits."""
    near = maps.threshold_mask
    return l1_loss(keep_valid(to_compute(threshold), near).sigmoid(), maps.threshold, mask=near, reduction="sum")

"""What practitioners say of the losses, as differences between runs, judged by `study_verdict.py`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from study_runs import LOSSES, SHARES
from study_verdict import Effect, combine, judge

IOU_MARGIN = 0.01
RATIO_MARGIN = math.log(1.1)
"""Ratios are compared as logarithms: a tenth more or a tenth less weigh the same."""

Record = dict[str, Any]
Measure = Callable[[Record], float]


@dataclass(frozen=True)
class Row:
    """One comparison; with `ratio` the effect is the logarithm of one."""

    label: str
    ratio: bool
    effect: Effect


@dataclass(frozen=True)
class Claim:
    """A saying, how it was measured, and what came out."""

    saying: str
    measured: str
    rows: tuple[Row, ...]
    verdict: str


def claims_of(records: Sequence[Record]) -> list[Claim]:
    """All claims."""
    return [*imbalance(records), *large_gradients(records), *unstable(records), hard_pixels(records), overlap(records)]


def imbalance(records: Sequence[Record]) -> list[Claim]:
    """Dice, alone and as an added term, against cross entropy, where foreground is rare."""
    claims = []
    for loss, saying in (
        ("dice", "Dice copes better with extreme imbalance than cross entropy"),
        ("cross_entropy+dice", "Adding Dice to cross entropy helps under extreme imbalance"),
    ):
        rows = [compare(records, loss, "cross_entropy", SHARES[0], iou, IOU_MARGIN)]
        claims.append(_claim(saying, f"foreground IoU at {SHARES[0]:.0%} foreground, {loss} minus cross_entropy", rows))
    return claims


def large_gradients(records: Sequence[Record]) -> list[Claim]:
    """At the first step the weights are equal, so that the losses alone make the difference."""
    measured = "mean length of the gradient w.r.t. the logits of a foreground pixel before the first step, dice over {}"
    rows = [compare(records, "dice", "cross_entropy", share, first_gradient, None) for share in SHARES]
    return [_claim("Dice has large gradients", measured.format("cross_entropy"), rows)]


def unstable(records: Sequence[Record]) -> list[Claim]:
    """The spread of the norm over the second half of the training."""
    claims = []
    for name, words in (("deviation_over_mean", "deviation over mean"), ("p95_over_p5", "95th over 5th percentile")):
        rows = [compare(records, "dice", "cross_entropy", share, spread_by(name), None) for share in SHARES]
        measured = f"{words} of the gradient norm in the second half of the training, dice over cross_entropy"
        claims.append(_claim(f"Training with Dice is unstable ({words})", measured, rows))
    return claims


def hard_pixels(records: Sequence[Record]) -> Claim:
    """What the nine tenths easier pixels keep: their share falls by a factor, where the others' nears 1 and stops."""
    parts = [record["hard_parts"] for record in _select(records, "cross_entropy", None)]
    gammas = list(parts[0])
    rows = []
    for low, high in pairwise(gammas):
        factors = [math.log((1 - part[low]) / (1 - part[high])) for part in parts]
        rows.append(Row(f"gamma {low} to {high}", True, judge(factors, margin=RATIO_MARGIN)))
    measured = (
        "share of the gradient on the easier nine tenths of the pixels, lower gamma over higher (0: cross entropy)"
    )
    return _claim("Focal loss concentrates on hard pixels, the more the larger its gamma", measured, rows)


def overlap(records: Sequence[Record]) -> Claim:
    """Every loss against cross entropy on the images as they are."""
    rows = [
        compare(records, loss, "cross_entropy", None, iou, IOU_MARGIN)
        for loss in LOSSES
        if loss in ("dice", "jaccard", "lovasz")
    ]
    measured = "foreground IoU on whole images, each loss minus cross_entropy"
    return _claim("Losses made from the overlap reach a higher IoU than cross entropy", measured, rows)


def compare(
    records: Sequence[Record], loss: str, other: str, share: float | None, measure: Measure, margin: float | None
) -> Row:
    """Seed by seed; without a margin as a ratio."""
    ours, theirs = (_select(records, name, share) for name in (loss, other))
    label = f"{loss}, {'whole images' if share is None else f'{share:.0%} foreground'}"
    pairs = [(measure(mine), measure(his)) for mine, his in zip(ours, theirs, strict=True)]
    if margin is None:
        return Row(label, True, judge([math.log(mine / his) for mine, his in pairs], margin=RATIO_MARGIN))
    return Row(label, False, judge([mine - his for mine, his in pairs], margin=margin))


def iou(record: Record) -> float:
    return float(record["iou"])


def first_gradient(record: Record) -> float:
    return float(record["at_start"]["per_foreground_pixel"])


def spread_by(name: str) -> Measure:
    return lambda record: float(record["norm_spread"][name])


def _select(records: Sequence[Record], loss: str, share: float | None) -> list[Record]:
    """Sorted by seed, so that pairs are pairs."""
    found = [record for record in records if record["loss_name"] == loss and record["share"] == share]
    return sorted(found, key=lambda record: record["seed"])


def _claim(saying: str, measured: str, rows: Sequence[Row]) -> Claim:
    return Claim(saying, measured, tuple(rows), combine([row.effect.verdict for row in rows]))

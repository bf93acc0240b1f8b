"""What practitioners say of EAST's score losses, as differences between runs, judged by `study_verdict.py`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from study_claims import RATIO_MARGIN, Claim, Row
from study_verdict import combine, judge

Record = dict[str, Any]
Measure = Callable[[Record], float]
LEAST = 1e-5
"""Of a share of cells, to take a logarithm of: one cell in a photo and a half."""


def claims_of(records: Sequence[Record]) -> list[Claim]:
    """Judge all of them."""
    ratios = {
        "Balanced cross entropy alone has small values": (
            "the score's term over the last steps, Dice's over that of the balanced cross entropy",
            [("dice over balanced", "dice", "balanced", value_of_its_own)],
        ),
        "Balanced cross entropy alone gives many false positives, Dice fewer": (
            "share of background cells above the threshold, and found words that are none",
            [
                ("false cells, balanced over dice", "balanced", "dice", false_cells),
                ("false words, balanced over dice", "balanced", "dice", false_words),
            ],
        ),
        "The sum with a larger weight on cross entropy lies between": (
            "the same; between means above Dice and below the balanced cross entropy",
            [
                ("false cells, balanced over the sum", "balanced", "balanced x 20 + dice", false_cells),
                ("false cells, the sum over dice", "balanced x 20 + dice", "dice", false_cells),
            ],
        ),
    }
    claims = []
    for saying, (measured, rows) in ratios.items():
        judged = [Row(label, True, _compare(records, first, second, of)) for label, first, second, of in rows]
        claims.append(Claim(saying, measured, tuple(judged), combine([row.effect.verdict for row in judged])))
    return claims


def _compare(records: Sequence[Record], first: str, second: str, of: Measure) -> Any:
    """The logarithm of one loss's value over the other's, seed by seed."""
    by_run = {(record["loss_name"], record["seed"]): record for record in records}
    seeds = sorted({seed for _, seed in by_run})
    differences = [math.log(of(by_run[first, seed])) - math.log(of(by_run[second, seed])) for seed in seeds]
    return judge(differences, margin=RATIO_MARGIN)


def false_cells(record: Record) -> float:
    """Share of background cells that are taken for text."""
    return max(record["false_cells"], LEAST)


def false_words(record: Record) -> float:
    """How many found words are none; one more, for there may be none at all."""
    return float(record["false_words"] + 1)


def value_of_its_own(record: Record) -> float:
    """The value of the only score term that a run has, before its weight."""
    (value,) = record["loss"].values()
    return float(value)

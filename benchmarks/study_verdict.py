"""The rule that turns differences between paired runs into supported, not supported or unclear."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

SUPPORTED, REFUTED, UNCLEAR = "supported", "not supported", "unclear"

RULE = """A claim says that one number is larger than another. Both are taken from runs with the same seed, which have
the same initial weights and the same batches, and are subtracted. From the differences of all seeds comes a 95%
interval of their mean (Student's t). *Supported*: the interval lies above 0 and the mean reaches the margin, the least
difference that we would call one. *Not supported*: the whole interval lies below the margin. *Unclear*: neither. A
claim with several rows is supported, or not supported, if all its rows are, and else unclear."""


@dataclass(frozen=True)
class Effect:
    """Mean difference, its interval, and the verdict."""

    mean: float
    low: float
    high: float
    margin: float
    verdict: str


def judge(differences: Sequence[float], *, margin: float) -> Effect:
    """Judge the claim that the differences, one a seed, are above 0."""
    values = np.asarray(differences, dtype=np.float64)
    if margin <= 0:
        raise ValueError(f"judge: expected margin > 0, got {margin}")
    if values.size < 2 or not np.isfinite(values).all():  # one seed has no spread, a failed run no value
        return Effect(float(values.mean()) if values.size else math.nan, -math.inf, math.inf, margin, UNCLEAR)
    mean = float(values.mean())
    half = float(student.ppf(0.975, values.size - 1) * values.std(ddof=1) / math.sqrt(values.size))
    low, high = mean - half, mean + half
    if low > 0 and mean >= margin:
        return Effect(mean, low, high, margin, SUPPORTED)
    return Effect(mean, low, high, margin, REFUTED if high < margin else UNCLEAR)


def combine(verdicts: Sequence[str]) -> str:
    """The verdict of a claim from those of its rows."""
    return verdicts[0] if len(set(verdicts)) == 1 else UNCLEAR

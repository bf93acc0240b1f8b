"""What is aimed at, and whether it was hit. Every aim is about ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Measured = Mapping[str, Mapping[str, Any]]
"""Name of a variant -> what was measured of it; the first is ours."""


@dataclass(frozen=True)
class Verdict:
    """An aim in words, and what became of it."""

    aim: str
    measured: float
    hit: bool


class Aim(Protocol):
    """Something that can be judged."""

    def judge(self, variants: Measured) -> Verdict | None:
        """Hit or missed; None where whom it names was not measured."""


@dataclass(frozen=True)
class Faster:
    """So many times as fast as another at least."""

    than: str
    times: float

    def judge(self, variants: Measured) -> Verdict | None:
        """By the ratio of medians, as it is printed."""
        if self.than not in variants:
            return None
        got = variants[self.than]["times_ours"]
        return Verdict(f"at least {self.times:g}x as fast as {self.than}", got, got >= self.times)


@dataclass(frozen=True)
class Within:
    """So many times as long as another at most, which computes less."""

    than: str
    times: float

    def judge(self, variants: Measured) -> Verdict | None:
        """By the ratio of medians."""
        if self.than not in variants:
            return None
        got = round(1 / variants[self.than]["times_ours"], 2)
        return Verdict(f"at most {self.times:g}x as long as {self.than}", got, got <= self.times)


@dataclass(frozen=True)
class Lighter:
    """So many tensors of the logits' size beside the gradient at most."""

    tensors: float

    def judge(self, variants: Measured) -> Verdict | None:
        """A hundredth of a tensor is for sums and labels."""
        got = next(iter(variants.values()))["tensors_beside_gradient"]
        if got is None:
            return None
        return Verdict(f"at most {self.tensors:g} tensor beside the gradient", got, got <= self.tensors + 0.01)


@dataclass(frozen=True)
class Sooner:
    """So many milliseconds at most, on whatever machine."""

    milliseconds: float

    def judge(self, variants: Measured) -> Verdict | None:
        """By the median."""
        got = next(iter(variants.values()))["milliseconds"]["median"]
        return Verdict(f"at most {self.milliseconds:g} ms", got, got <= self.milliseconds)

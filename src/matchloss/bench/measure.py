"""Time of forward, and of forward with backward, all variants in turns in one process."""

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .rows import Loss

FEWEST = 5
"""Rounds at least, however long they take."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    median: float
    iqr: float
    best: float
    rounds: int


@dataclass(frozen=True)
class Times:
    """Of one variant."""

    forward: Timing
    whole: Timing
    """Forward and backward; forward alone where there is no gradient."""


class Clock(Protocol):
    """Marks moments, and says how long it was between them."""

    def start(self) -> None:
        """Begin."""

    def lap(self) -> None:
        """Mark a moment."""

    def milliseconds(self) -> list[float]:
        """From the start to each mark."""


class HostClock:
    """For the CPU."""

    def start(self) -> None:
        """Begin."""
        self.marks = [time.perf_counter()]

    def lap(self) -> None:
        """Mark a moment."""
        self.marks.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        """From the start to each mark."""
        return [1000 * (mark - self.marks[0]) for mark in self.marks[1:]]


class DeviceClock:
    """For a GPU: events on its stream. Each measurement begins with a cold L2 cache and an idle device."""

    def __init__(self, device: str) -> None:
        self.cold = torch.empty(2**28, dtype=torch.int8, device=device)  # more than any L2

    def start(self) -> None:
        """Write over the cache, wait, begin."""
        self.cold.zero_()
        torch.cuda.synchronize()
        self.marks: list[torch.cuda.Event] = []
        self.lap()

    def lap(self) -> None:
        """Mark a moment."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self.marks.append(event)

    def milliseconds(self) -> list[float]:
        """From the start to each mark."""
        torch.cuda.synchronize()
        return [float(self.marks[0].elapsed_time(mark)) for mark in self.marks[1:]]


def clock_of(device: str) -> Clock:
    """Whichever the device needs."""
    return DeviceClock(device) if device.startswith("cuda") else HostClock()


def run(loss: Loss, leaf: Tensor | None) -> Tensor:
    """Forward, and backward where there is a gradient; give the value."""
    value = loss()
    if leaf is not None:
        leaf.grad = None
        value.backward()  # type: ignore[no-untyped-call]
    return value.detach()


def time_in_turns(
    variants: Mapping[str, Loss], leaf: Tensor | None, clock: Clock, *, rounds: int, seconds: float
) -> dict[str, Times]:
    """Run all variants once a round, in an order that turns, so that whatever else the machine does meets all alike.

    Ends after so many rounds, or after so many seconds but not before five rounds.
    """
    for loss in variants.values():
        run(loss, leaf)  # compilers, caches and pages
    times: dict[str, list[list[float]]] = {name: [] for name in variants}
    names, began = list(variants), time.perf_counter()
    gc.collect()
    gc.disable()  # a collection would fall on one of them
    try:
        for done in range(rounds):
            if done >= FEWEST and time.perf_counter() - began > seconds:
                break
            turn = done % len(names)
            for name in names[turn:] + names[:turn]:
                times[name].append(_laps(variants[name], leaf, clock))
    finally:
        gc.enable()
    return {name: Times(*(timing(lap) for lap in zip(*laps, strict=True))) for name, laps in times.items()}


def _laps(loss: Loss, leaf: Tensor | None, clock: Clock) -> list[float]:
    """Milliseconds to the end of forward, and to the end of backward."""
    if leaf is not None:
        leaf.grad = None
    clock.start()
    value = loss()
    clock.lap()
    if leaf is not None:
        value.backward()  # type: ignore[no-untyped-call]
    clock.lap()
    return clock.milliseconds()


def timing(values: tuple[float, ...] | list[float]) -> Timing:
    """Median and spread."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Timing(round(float(middle), 4), round(float(high - low), 4), round(min(values), 4), len(values))

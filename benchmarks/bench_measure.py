"""Time and memory of forward and backward, on the CPU or a CUDA GPU."""

import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

Loss = Callable[[], Tensor]

MEMORY_METHOD = {
    "cpu": "allocations of torch's CPU allocator in the order torch.profiler records them, at their highest sum, plus "
    "the highest sum of what numpy allocates by tracemalloc; the two peaks are added though they may not coincide",
    "cuda": "torch.cuda.max_memory_allocated less what was allocated before",
}


@dataclass(frozen=True)
class Timing:
    """Milliseconds of forward and backward."""

    median: float
    iqr: float
    best: float
    rounds: int


def time_in_turns(variants: dict[str, Loss], logits: Tensor, *, rounds: int, seconds: float) -> dict[str, Timing]:
    """Run all variants once a round, in an order that turns, so that whatever else the machine does meets all alike.

    Ends after so many rounds, or after so many seconds but not before five rounds.
    """
    for loss in variants.values():
        _run(loss, logits)  # compilers, caches and pages
    times: dict[str, list[float]] = {name: [] for name in variants}
    names, began = list(variants), time.perf_counter()
    gc.collect()
    gc.disable()  # a collection would fall on one of them
    try:
        for done in range(rounds):
            if done >= 5 and time.perf_counter() - began > seconds:
                break
            turn = done % len(names)
            for name in names[turn:] + names[:turn]:
                times[name].append(_milliseconds(variants[name], logits))
    finally:
        gc.enable()
    return {name: _timing(values) for name, values in times.items()}


def peak_extra_bytes(loss: Loss, logits: Tensor) -> int:
    """The most that forward and backward hold at a time beside what is there before, the gradient included."""
    _run(loss, logits)
    logits.grad = None
    if logits.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _run(loss, logits)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    return _peak_of_torch(loss, logits) + _peak_of_numpy(loss, logits)


def _run(loss: Loss, logits: Tensor) -> None:
    logits.grad = None
    loss().backward()


def _milliseconds(loss: Loss, logits: Tensor) -> float:
    if logits.device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        logits.grad = None
        torch.cuda.synchronize()
        start.record()
        loss().backward()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end))
    logits.grad = None
    began = time.perf_counter()
    loss().backward()
    return 1000 * (time.perf_counter() - began)


def _timing(values: list[float]) -> Timing:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Timing(round(float(middle), 3), round(float(high - low), 3), round(min(values), 3), len(values))


def _peak_of_torch(loss: Loss, logits: Tensor) -> int:
    """Sums up the allocations and, as negative numbers, the releases in the profiler's trace."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        _run(loss, logits)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    sums = np.cumsum([size for _, size in sorted(changes, key=lambda change: change[0])])
    return int(max(sums.max(initial=0), 0))


def _peak_of_numpy(loss: Loss, logits: Tensor) -> int:
    """Numpy tells tracemalloc of its arrays; the profiler does not see them."""
    tracemalloc.start()
    try:
        _run(loss, logits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

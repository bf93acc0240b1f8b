"""The most that forward and backward hold at a time beside what is there before, the gradient included."""

import json
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from .measure import run
from .rows import Loss

METHOD = {
    "cpu": "allocations of torch's CPU allocator in the order torch.profiler records them, at their highest sum, plus "
    "the highest sum of what numpy allocates by tracemalloc; the two peaks are added though they may not coincide",
    "cuda": "torch.cuda.max_memory_allocated less what was allocated before",
}


def peak_extra_bytes(loss: Loss, leaf: Tensor | None, device: str) -> int:
    """Of one variant, once it is warm."""
    _forget_gradient(leaf)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(loss, leaf)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    return _peak_of_torch(loss, leaf) + _peak_of_numpy(loss, leaf)


def _forget_gradient(leaf: Tensor | None) -> None:
    if leaf is not None:
        leaf.grad = None


def _peak_of_torch(loss: Loss, leaf: Tensor | None) -> int:
    """Sums up the allocations and, as negative numbers, the releases in the profiler's trace."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run(loss, leaf)
    _forget_gradient(leaf)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    sums = np.cumsum([size for _, size in sorted(changes, key=lambda change: float(change[0]))])
    return int(max(sums.max(initial=0), 0))


def _peak_of_numpy(loss: Loss, leaf: Tensor | None) -> int:
    """Numpy tells tracemalloc of its arrays; the profiler does not see them."""
    tracemalloc.start()
    try:
        run(loss, leaf)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

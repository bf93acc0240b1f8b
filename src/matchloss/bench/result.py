"""Everything about one row, as it goes into the file."""

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from .graph import time_replay, waits_for_host
from .measure import Clock, Times, run, time_in_turns
from .memory import peak_extra_bytes
from .operators import count_operators
from .plans import Plan
from .rows import Row, Variant
from .setting import Setting
from .variants import OURS, variants_of

MIB = 2**20
NEAR = 1e-3
"""Relative difference of values below which two float32 sums of millions are the same."""
NEAR_IN_HALF = 2e-2
Result = dict[str, Any]


def measure(plan: Plan, setting: Setting, clock: Clock, *, rounds: int, seconds: float, compiled: bool) -> Result:
    """Build a row and measure whoever works; who does not is named with the reason."""
    row = plan.make(setting)
    torch.compiler.reset()
    working, left_out = _working(variants_of(row, compiled=compiled), row.leaf)
    calls = {name: variant.call for name, variant in working.items()}
    times = time_in_turns(calls, row.leaf, clock, rounds=rounds, seconds=seconds)
    ours = times[OURS].whole.median
    near = NEAR if setting.dtype == torch.float32 else NEAR_IN_HALF
    variants: dict[str, Result] = {}
    for name, variant in working.items():
        variants[name] = _facts(variant, row, times[name], setting.device)
        variants[name]["times_ours"] = round(times[name].whole.median / ours, 3)
        variants[name]["agrees"] = math.isclose(variants[name]["value"], variants[OURS]["value"], rel_tol=near)
        if setting.device.startswith("cuda"):
            variants[name] |= _on_device_alone(variant, row, clock, rounds)
    # The aims are for full size.
    verdicts = [] if setting.quick else [verdict for aim in plan.aims if (verdict := aim.judge(variants))]
    return {
        "title": plan.title,
        "name": plan.name,
        "group": plan.group,
        "size": row.size,
        "dtype": str(setting.dtype).removeprefix("torch."),
        "least_mib": None if row.least_bytes is None else round(row.least_bytes / MIB, 2),
        "variants": variants,
        "aims": [asdict(verdict) for verdict in verdicts],
        "left_out": left_out,
    }


def _working(variants: Mapping[str, Variant], leaf: Tensor | None) -> tuple[dict[str, Variant], dict[str, str]]:
    """Those that run, and for those that do not, why; ours has to."""
    working, failed = dict[str, Variant](), dict[str, str]()
    for name, variant in variants.items():
        if why := "" if name == OURS else _failure(variant, leaf):
            failed[name] = why
            print(f"left out: {name}: {why}", file=sys.stderr)
        else:
            working[name] = variant
    return working, failed


def _failure(variant: Variant, leaf: Tensor | None) -> str:
    """What stops it; empty if nothing does. A library may fail in any way, and a compiler too."""
    try:
        run(variant.call, leaf)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
    return ""


def _facts(variant: Variant, row: Row, times: Times, device: str) -> Result:
    """Value, times, memory, operators."""
    peak, leaf = peak_extra_bytes(variant.call, row.leaf, device), row.leaf
    compiled = variant.kind.startswith("compiled")
    return {
        "kind": variant.kind,
        "differs": variant.differs,
        "value": float(run(variant.call, leaf)),
        "milliseconds": asdict(times.whole),
        "forward_milliseconds": asdict(times.forward),
        "peak_mib": round(peak / MIB, 2),
        "tensors_beside_gradient": None if leaf is None else round(peak / leaf.nbytes - 1, 2),
        "operators": None if compiled else count_operators(variant.call, leaf),
    }


def _on_device_alone(variant: Variant, row: Row, clock: Clock, rounds: int) -> Result:
    """By replaying a graph, where nothing waits for the host: capturing what does would break the stream."""
    why = waits_for_host(variant.call, row.leaf)
    if not why:
        try:
            return {"graph_milliseconds": asdict(time_replay(variant.call, row.leaf, clock, rounds=rounds))}
        except RuntimeError as error:
            why = str(error).splitlines()[0]
    return {"graph_milliseconds": None, "no_graph": why}

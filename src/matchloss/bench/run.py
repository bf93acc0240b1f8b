"""Measures plans one after the other, so that only one holds memory, and says how far it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .environment import ENVIRONMENT, load
from .measure import clock_of
from .memory import METHOD
from .plans import Plan, all_plans, named
from .provenance import provenance
from .result import Result, measure
from .setting import Setting


@dataclass(frozen=True)
class Effort:
    """How long a row is measured."""

    rounds: int
    seconds: float


LONG, SHORT, TINY = Effort(25, 4.0), Effort(15, 1.0), Effort(5, 0.0)


class UnknownRowError(ValueError):
    """No row is called so; the message is meant for whoever typed it."""


def choose(part: str) -> list[Plan]:
    """Plans by a part of their title or name; all of them for an empty one."""
    found = named(all_plans(), part)
    if not found:
        raise UnknownRowError(f"no row has {part!r} in its name; `matchloss bench --list` shows them all")
    return found


def measure_all(
    plans: Sequence[Plan],
    setting: Setting,
    *,
    compiled: bool,
    begin: Callable[[Plan], None],
    done: Callable[[Result], None],
) -> list[Result]:
    """Measure each of them, long where there are aims."""
    clock, results = clock_of(setting.device), []
    for plan in plans:
        begin(plan)
        effort = TINY if setting.quick else LONG if plan.group == "with aims" else SHORT
        through_compiler = compiled or (plan.compiled and not setting.quick)
        results.append(
            measure(plan, setting, clock, rounds=effort.rounds, seconds=effort.seconds, compiled=through_compiler)
        )
        done(results[-1])
    return results


def write_results(path: Path, results: Sequence[Result], setting: Setting) -> None:
    """Where the numbers come from, then the numbers."""
    from ..recipes.checkpoint import write_json

    kind = setting.device.partition(":")[0]
    about = {
        "memory": METHOD[kind],
        "environment": ENVIRONMENT,
        "quick": setting.quick,
        "load_at_end": load(),
        "peers_left_out": setting.peers.left_out,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, provenance(setting.device) | about | {"rows": list(results)})


def set_threads(threads: int | None) -> None:
    """Of torch on the CPU; all cores unless given."""
    if threads:
        torch.set_num_threads(threads)

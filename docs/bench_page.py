"""Tables of `bench_<device>.json` and `gpu_<device>.json`: who is how fast, what was aimed at, where a peer wins."""

from collections.abc import Mapping, Sequence
from typing import Any

from reference_pages import escape

Row = Mapping[str, Any]

EXPLAINED = (
    "Each row is one operation on the same tensors by everybody, in turns in one process; times are medians of forward "
    "and backward (assigners, encoders and decoders have no backward). *Times ours* says how many times as long the "
    "other one takes: below 1 it is faster than matchloss. *Operators* is how many of them forward and backward call, "
    "ours and the plain torch form's."
)
NO_GPU = (
    "There is no measurement on a GPU yet. `python benchmarks/gpu.py` makes one, in ten minutes where there is a GPU."
)

CLEARLY = 0.95
"""Of our time: what is nearer to it lies within what the medians of two runs differ."""


def bench_tables(data: Mapping[str, Any]) -> list[str]:
    """The operations with aims, then everything else."""
    rows: Sequence[Row] = data["rows"]
    first = [row for row in rows if row["group"] == "with aims"]
    others = [row for row in rows if row["group"] != "with aims"]
    threads = f"{data['threads']} thread{'s' if data['threads'] > 1 else ''}"
    blocks = [f"Measured on {escape(data['device'])}, {threads}. {EXPLAINED}"]
    if data.get("copy_gb_per_s"):
        blocks.append(f"A copy within the device's memory runs at {data['copy_gb_per_s']:.0f} GB/s, read and written.")
    if first:
        aims = [aim for row in first for aim in row["aims"]]
        hit = sum(aim["hit"] for aim in aims)
        blocks += [
            f"### Operations with aims: {hit} of {len(aims)} hit" if aims else "### Operations",
            _table(("operation", "ms", "times ours", "aims", "peak MiB", "operators"), map(_with_aims, first)),
        ]
    if others:
        columns = ("operation", "ms", "times ours", "peak MiB", "operators")
        blocks += ["### Every other loss, assigner, criterion and encoder", _table(columns, map(_without_aims, others))]
    blocks += ["### Where another one is faster", faster_peers(rows)]
    if failures := data.get("failures"):
        lines = [f"- {escape(row)}: {escape(' '.join(why.split()))}" for row, why in failures.items()]
        blocks += ["### What failed", "\n".join(lines)]
    if tests := data.get("tests"):
        blocks.append(f"The tests of the kernels on this device: {escape(tests['last'])}.")
    return blocks


def _with_aims(row: Row) -> tuple[str, ...]:
    operation, ms, times, *rest = _without_aims(row)
    aims = "<br>".join(
        f"{'hit' if aim['hit'] else '**missed**'}: {escape(aim['aim'])} (measured {aim['measured']:.3g})"
        for aim in row["aims"]
    )
    return operation, ms, times, aims, *rest


def _without_aims(row: Row) -> tuple[str, ...]:
    name, ours = next(iter(row["variants"].items()))
    others = {other: facts for other, facts in row["variants"].items() if other != name}
    graph = ours.get("graph_milliseconds")
    alone = f"<br>{graph['median']:.3g} in a graph" if graph else ""
    if graph and row.get("of_memory_floor"):
        alone += f", {100 * row['of_memory_floor']:.0f}% of the memory floor"
    return (
        f"{escape(row['title'])}<br><small>{escape(row['size'])}, {row['dtype']}</small>",
        f"{ours['milliseconds']['median']:.3g}{alone}",
        "<br>".join(f"{escape(_short(other))} {facts['times_ours']:.2f}" for other, facts in others.items()),
        "<br>".join([f"{ours['peak_mib']:.1f}", *(_memory(other, facts) for other, facts in others.items())]),
        "<br>".join([str(ours["operators"]), *_plain_operators(others)]),
    )


def _memory(name: str, facts: Row) -> str:
    return f"<small>{escape(_short(name))} {facts['peak_mib']:.1f}</small>"


def _plain_operators(others: Mapping[str, Row]) -> list[str]:
    return [f"<small>plain torch {one['operators']}</small>" for one in others.values() if one["kind"] == "plain torch"]


def _short(name: str) -> str:
    return name.removeprefix("matchloss, ")


def faster_peers(rows: Sequence[Row]) -> str:
    """In words: who takes less time for the same value, then who takes less and computes something else."""
    same, less = [], []
    for row in rows:
        for name, facts in row["variants"].items():
            if facts["kind"] == "ours" or facts["times_ours"] >= CLEARLY:
                continue
            text = f"{escape(_short(name))} takes {facts['times_ours']:.2f} of our time"
            place = f"- {escape(row['title'])} ({escape(row['size'])}): {text}"
            if facts["differs"]:
                less.append(f"{place}; its value is another: {escape(facts['differs'])}.")
            else:
                same.append(f"{place}.")
    if not same and not less:
        return f"Nowhere: whoever was timed takes at least {CLEARLY:g} of our time."
    return "\n".join([*same, *less])


def _table(columns: Sequence[str], rows: Any) -> str:
    align = ["---", *("---:" if name in ("ms", "peak MiB") else "---" for name in columns[1:])]
    lines = [list(columns), align, *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "&#124;") for cell in line) + " |" for line in lines)

"""Our losses timed beside their peers: forward + backward, in one process, taking turns.

    python benchmarks/run.py                  # on the CPU: a few minutes, best on a quiet machine
    python benchmarks/run.py --device cuda    # on a GPU, timed with CUDA events

Writes benchmarks/results/losses_<device>.json and prints the same as tables, with the aims that were hit or missed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from bench_cases import Aim, Case, MemoryAim, cases
from bench_measure import MEMORY_METHOD, Timing, peak_extra_bytes, time_in_turns
from matchloss.recipes.checkpoint import write_json
from provenance import ROOT, provenance

# On a virtual machine, fresh pages are slow, and glibc gives big blocks back at every free: without the first two the
# times are mostly page faults, and those of whoever allocates most. The third keeps the profiler quiet.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "20000000000", "KINETO_LOG_LEVEL": "99"}
MIB = 2**20
Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=25, help="of each case, at most")
    parser.add_argument("--seconds", type=float, default=45.0, help="after which a case ends, with 5 rounds at least")
    parser.add_argument("--threads", type=int, help="of torch on the CPU; all cores unless given")
    parser.add_argument("--quick", action="store_true", help="small tensors: does it run, not how fast")
    parser.add_argument("--only", nargs="+", default=[""], help="cases with one of these in their title")
    parser.add_argument("--out", type=Path, help="results file")
    options = parser.parse_args(arguments)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch sees no CUDA GPU here")
    if options.threads:
        torch.set_num_threads(options.threads)
    results = []
    for case in cases(options.device, quick=options.quick):
        if not any(part in case.title for part in options.only):
            continue
        if options.quick:  # the aims are for full size
            case = replace(case, aims=[], memory_aims=[])
        results.append(measure(case, rounds=options.rounds, seconds=options.seconds))
        print(table(results[-1]), flush=True)
    kind = options.device.partition(":")[0]
    # Small tensors tell nothing of speed, and must not take the place of a real measurement.
    out = options.out or ROOT / "benchmarks" / "results" / f"losses_{kind}{'_quick' if options.quick else ''}.json"
    about = {"memory": MEMORY_METHOD[kind], "environment": ENVIRONMENT, "quick": options.quick}
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, provenance(options.device) | about | {"load_at_end": load()} | {"cases": results})
    print(f"results: {out}")


def measure(case: Case, *, rounds: int, seconds: float) -> Result:
    """Everything about one case, as it goes into the file."""
    timings = time_in_turns(case.variants, case.logits, rounds=rounds, seconds=seconds)
    tensor = case.logits.numel() * case.logits.element_size()
    variants = {}
    for name, loss in case.variants.items():
        peak = peak_extra_bytes(loss, case.logits)
        beside = round(peak / tensor - 1, 2) if case.logits.numel() > 1 else None  # an assignment has no gradient
        memory = {"peak_mib": round(peak / MIB, 2), "tensors_beside_gradient": beside}
        variants[name] = {"value": loss().item(), "milliseconds": asdict(timings[name]), **memory}
    aims = [judge_time(aim, timings) for aim in case.aims if aim.other in timings]  # a peer may not be there
    aims += [judge_memory(aim, variants) for aim in case.memory_aims]
    return {"title": case.title, "variants": variants, "ratios": ratios(timings), "aims": aims}


def ratios(timings: dict[str, Timing]) -> dict[str, float]:
    """Every variant's median over that of the first, which is ours."""
    first = next(iter(timings.values())).median
    return {name: round(timing.median / first, 2) for name, timing in timings.items()}


def judge_time(aim: Aim, timings: dict[str, Timing]) -> Result:
    """Hit or missed, by the unrounded ratio of medians."""
    ours, other = timings[aim.ours].median, timings[aim.other].median
    if aim.at_least is not None:
        text, got = f"at least {aim.at_least:g}x as fast as {aim.other}", other / ours
        return {"of": aim.ours, "aim": text, "measured": round(got, 2), "hit": got >= aim.at_least}
    assert aim.at_most is not None
    text, got = f"at most {aim.at_most:g}x the time of {aim.other}", ours / other
    return {"of": aim.ours, "aim": text, "measured": round(got, 2), "hit": got <= aim.at_most}


def judge_memory(aim: MemoryAim, variants: Result) -> Result:
    """A hundredth of a tensor is for sums and labels."""
    got = variants[aim.ours]["tensors_beside_gradient"]
    text = f"at most {aim.tensors:g} tensor of the logits' size beside the gradient"
    return {"of": aim.ours, "aim": text, "measured": got, "hit": got <= aim.tensors + 0.01}


def table(result: Result) -> str:
    """Aligned text."""
    lines = [f"\n{result['title']}, forward + backward"]
    lines.append(f"  {'':28}{'median ms':>10}{'IQR ms':>9}{'ratio':>8}{'peak MiB':>10}{'beside gradient':>17}")
    for name, row in result["variants"].items():
        times, tensors = row["milliseconds"], row["tensors_beside_gradient"]
        beside = "" if tensors is None else f"{tensors:.2f} tensors"
        lines.append(
            f"  {name:28}{times['median']:10.2f}{times['iqr']:9.2f}{result['ratios'][name]:7.2f}x"
            f"{row['peak_mib']:10.1f}{beside:>17}"
        )
    for aim in result["aims"]:
        verdict = "hit   " if aim["hit"] else "MISSED"
        lines.append(f"  {verdict} {aim['of']}: {aim['aim']}: {aim['measured']:g}")
    return "\n".join(lines)


def load() -> float | None:
    """Processes that want the processor, ours included; times from a busy machine say little."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def set_environment() -> None:
    """Start again where it is not set: glibc reads it at the start of a process only."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ENVIRONMENT)


if __name__ == "__main__":
    set_environment()
    main()

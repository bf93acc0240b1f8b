"""How time and memory grow with batch, points, queries, targets and classes, ours and others', in some four minutes.

    python benchmarks/growth.py                  # needs what `make peers` installs to draw others beside ours
    python benchmarks/growth.py --device cuda

Writes benchmarks/results/growth_<device>.json, of which `make docs` draws a figure a family.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matchloss.bench import assigners, losses, matching
from matchloss.bench.environment import load, set_environment
from matchloss.bench.measure import clock_of, time_in_turns
from matchloss.bench.memory import peak_extra_bytes
from matchloss.bench.peers import Peers
from matchloss.bench.provenance import ROOT, provenance
from matchloss.bench.result import MIB
from matchloss.bench.rows import Row
from matchloss.bench.setting import Setting
from matchloss.bench.variants import variants_of
from matchloss.recipes.checkpoint import write_json

SHOWN = {"matchloss", "torchvision", "kornia", "MONAI", "Ultralytics", "transformers", "one-hot formula"}
ROUNDS, SECONDS, TOO_SLOW = 9, 1.5, 1500.0
"""Milliseconds after which a variant is left out of larger sizes."""


class Sweep(NamedTuple):
    """One number of a size that grows."""

    family: str
    over: str
    values: tuple[int, ...]
    make: Callable[[Setting, int], Row]
    fixed: str


SWEEPS = (
    Sweep(
        "task-aligned assignment",
        "images",
        (2, 8, 32),
        lambda setting, images: assigners.task_aligned(setting, images, 20),
        "8400 points, 20 targets",
    ),
    Sweep(
        "task-aligned assignment",
        "targets",
        (5, 25, 125),
        lambda setting, count: assigners.task_aligned(setting, 8, count),
        "8 images, 8400 points",
    ),
    Sweep(
        "task-aligned assignment",
        "side of the image",
        (320, 640, 1280),
        lambda setting, side: assigners.task_aligned(setting, 4, 20, side),
        "4 images, 20 targets",
    ),
    Sweep(
        "set matching",
        "images",
        (2, 8, 32),
        lambda setting, images: matching.softmax_matching(setting, images, 300, 20),
        "300 queries, about 20 targets",
    ),
    Sweep(
        "set matching",
        "queries",
        (100, 300, 900),
        lambda setting, queries: matching.softmax_matching(setting, 8, queries, 20),
        "8 images, about 20 targets",
    ),
    Sweep(
        "set matching",
        "targets",
        (5, 25, 125),
        lambda setting, count: matching.softmax_matching(setting, 8, 300, count),
        "8 images, 300 queries",
    ),
    Sweep(
        "cross entropy and Dice",
        "images",
        (1, 4, 16),
        lambda setting, images: losses.cross_entropy_and_dice(setting, (images, 19, 256, 256)),
        "19 classes, 256 x 256",
    ),
    Sweep(
        "cross entropy and Dice",
        "classes",
        (2, 8, 32),
        lambda setting, classes: losses.cross_entropy_and_dice(setting, (2, classes, 256, 256)),
        "2 images, 256 x 256",
    ),
    Sweep(
        "cross entropy and Dice",
        "side of the image",
        (128, 256, 512),
        lambda setting, side: losses.cross_entropy_and_dice(setting, (2, 19, side, side)),
        "2 images, 19 classes",
    ),
    Sweep(
        "sigmoid focal",
        "images",
        (1, 4, 16),
        lambda setting, images: losses.focal(setting, (images, 8400, 80)),
        "8400 anchors, 80 classes",
    ),
    Sweep(
        "sigmoid focal",
        "classes",
        (2, 20, 200),
        lambda setting, classes: losses.focal(setting, (4, 8400, classes)),
        "4 images, 8400 anchors",
    ),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all sweeps; a file that is there is replaced at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--quick", action="store_true", help="small tensors: does it run, not how fast")
    parser.add_argument("--only", default="", help="families with this in their name")
    parser.add_argument("--out", type=Path, help="results file")
    options = parser.parse_args(arguments)
    peers = Peers(wanted=True)
    setting = partial(Setting, device=options.device, quick=options.quick, peers=peers)
    sweeps = [grow(sweep, setting) for sweep in SWEEPS if options.only in sweep.family]
    out = options.out or ROOT / "benchmarks" / "results" / f"growth_{options.device}.json"
    about = {"quick": options.quick, "load_at_end": load(), "peers_left_out": peers.left_out}
    write_json(out, provenance(options.device) | about | {"sweeps": sweeps})
    print(f"results: {out}")


def grow(sweep: Sweep, setting: Callable[[], Setting]) -> dict[str, Any]:
    """From the smallest to the largest; who became too slow stays behind."""
    points, slow = [], set[str]()
    for value in sweep.values:
        point = measure(sweep.make(setting(), value), setting(), slow)
        slow |= {name for name, facts in point.items() if facts["milliseconds"] > TOO_SLOW}
        points.append({"at": value, "variants": point})
        shown = ", ".join(f"{name} {facts['milliseconds']:.1f} ms" for name, facts in point.items())
        print(f"{sweep.family}, {value} {sweep.over}: {shown}", flush=True)
    return {"family": sweep.family, "over": sweep.over, "fixed": sweep.fixed, "points": points}


def measure(row: Row, setting: Setting, slow: set[str]) -> dict[str, dict[str, float]]:
    """Time and memory of those that are shown."""
    variants = variants_of(row, compiled=False)
    calls = {name: one.call for name, one in variants.items() if name in SHOWN - slow}
    clock = clock_of(setting.device)
    times = time_in_turns(calls, row.leaf, clock, rounds=ROUNDS, seconds=0.0 if setting.quick else SECONDS)
    return {
        name: {
            "milliseconds": times[name].whole.median,
            "peak_mib": round(peak_extra_bytes(call, row.leaf, setting.device) / MIB, 3),
        }
        for name, call in calls.items()
    }


if __name__ == "__main__":
    set_environment()
    main()

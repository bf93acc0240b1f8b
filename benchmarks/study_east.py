"""EAST's score losses compared over seeds, and what practitioners say of them held against the numbers.

    python benchmarks/study_east.py            # all runs, then the results file and the page
    python benchmarks/study_east.py --page     # the page again, from the results file

Every finished run leaves one record in --out; killed and started again, the study goes on with what is missing, and a
run where it was.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded: the workers share the cores by processes

import torch

from matchloss.bench.provenance import ROOT, provenance
from matchloss.recipes.checkpoint import write_json
from study_east_claims import claims_of
from study_east_page import write_page
from study_east_runs import Length, Run, planned
from study_records import read_stored, record_path, train_missing, write_results

RESULTS = ROOT / "benchmarks" / "results" / "study_east.json"
PAGE = ROOT / "docs" / "study_east.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing; with everything there, write the results and the page."""
    options = parse(arguments)
    if options.page:
        write_page(json.loads(options.results.read_text()), options.page_file)
        return
    length = Length(**({"steps": options.steps} if options.steps else {}))
    header = {"data": options.data.resolve().name, "length": asdict(length)}
    runs = planned(options.seeds)
    train_missing(
        runs,
        partial(train_one, header=header, data=options.data, out=options.out),
        lambda run: read_stored(options.out, run, header) is not None,
        options.out,
        options.jobs,
    )
    records = [{"loss_name": run.loss, "seed": run.seed} | read_stored(options.out, run, header) for run in runs]
    torch.set_num_threads(1)  # as the runs did: it is written down
    claims = [asdict(claim) for claim in claims_of(records)]
    write_results(options.results, provenance() | header | {"claims": claims}, records)
    write_page(json.loads(options.results.read_text()), options.page_file)
    print(f"{len(runs)} runs: {options.results} and {options.page_file}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with photos and words")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "study_east", help="folder of runs and records")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--steps", type=int, help="of each run")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page from the results file")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page-file", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds {options.seeds}: expected at least 2, for one seed has no spread to judge by")
    return options


def default_data() -> Path:
    """The larger set where it lies beside the project, else the samples."""
    larger = ROOT.parent / "shared" / "data" / "icdar2015_text"
    return larger if larger.is_dir() else ROOT / "samples" / "icdar2015"


def train_one(run: Run, header: dict[str, object], data: Path, out: Path) -> str:
    """In a worker: train and write the record."""
    from study_east_runs import train

    torch.set_num_threads(1)
    record = train(run, Length(**header["length"]), data, out)  # type: ignore[arg-type]
    write_json(record_path(out, run), header | {"run": asdict(run), "record": record})
    return f"F {record['hmean']:.3f}, false cells {record['false_cells']:.2%}, {record['cpu_seconds']:.0f} CPU s"


if __name__ == "__main__":
    sys.exit(main())

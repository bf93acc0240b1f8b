"""Losses compared over seeds on nuclei, and what practitioners say of them held against the numbers.

    python benchmarks/study_segmentation.py            # all runs, then the results file and the page
    python benchmarks/study_segmentation.py --page     # the page again, from the results file

Every finished run leaves one record in --out; killed and started again, the study goes on with what is missing.
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
from study_claims import claims_of
from study_page import write_page
from study_records import read_stored, record_path, train_missing, write_results
from study_runs import Length, Run, planned

RESULTS = ROOT / "benchmarks" / "results" / "study_segmentation.json"
PAGE = ROOT / "docs" / "study_segmentation.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing; with everything there, write the results and the page."""
    options = parse(arguments)
    if options.page:
        write_page(json.loads(options.results.read_text()), options.page_file)
        return
    length = Length(**{name: getattr(options, name) for name in ("steps", "crop") if getattr(options, name)})
    header = {"data": options.data.resolve().name, "length": asdict(length)}
    runs = planned(options.seeds)
    train_missing(
        [run for run in runs if options.only in run.name],
        partial(train_one, header=header, data=options.data, out=options.out),
        lambda run: read_record(options.out, run, header) is not None,
        options.out,
        options.jobs,
    )
    records = [read_record(options.out, run, header) for run in runs]
    missing = sum(record is None for record in records)
    if missing:
        print(f"{missing} of {len(runs)} runs are still to be done; no results written")
        return
    torch.set_num_threads(1)  # as the runs did: it is written down
    claims = [asdict(claim) for claim in claims_of(records)]
    write_results(options.results, provenance() | header | {"claims": claims}, records)
    write_page(json.loads(options.results.read_text()), options.page_file)
    print(f"{len(runs)} runs: {options.results} and {options.page_file}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with images/ and labels/")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "study_segmentation", help="folder of the records")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="run only what has this text in its name, such as share1-dice")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--steps", type=int, help="of each run")
    parser.add_argument("--crop", type=int, help="pixels along a side")
    parser.add_argument("--page", action="store_true", help="train nothing, write the page from the results file")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page-file", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds {options.seeds}: expected at least 2, for one seed has no spread to judge by")
    return options


def default_data() -> Path:
    """The larger set where it lies beside the project, else the samples."""
    larger = ROOT.parent / "shared" / "data" / "nuclei_dsb2018"
    return larger if larger.is_dir() else ROOT / "samples" / "nuclei"


def train_one(run: Run, header: dict[str, object], data: Path, out: Path) -> str:
    """In a worker: train and write the record."""
    from study_train import train  # the parent needs no model

    torch.set_num_threads(1)
    record = train(run, Length(**header["length"]), data)  # type: ignore[arg-type]
    write_json(record_path(out, run), header | {"run": asdict(run), "record": record})
    return f"IoU {record['iou']:.3f} in {record['seconds']:.0f} s"


def read_record(out: Path, run: Run, header: dict[str, object]) -> dict[str, object] | None:
    """A finished run of this length on this data, or None."""
    record = read_stored(out, run, header)
    return None if record is None else {"loss_name": run.loss, "share": run.share, "seed": run.seed} | record


if __name__ == "__main__":
    sys.exit(main())

"""The records of a study, a file a run, and the trainings that are still missing."""

import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol

from matchloss.recipes.checkpoint import write_atomically

Header = dict[str, object]
"""What all runs of a study share, such as data and length; a record with another header is not taken for theirs."""


class NamedRun(Protocol):
    """One training of a study."""

    @property
    def name(self) -> str:
        """Also the record's file name."""


def train_missing(
    runs: Sequence[NamedRun], train_one: Callable[[Any], str], has_record: Callable[[Any], bool], out: Path, jobs: int
) -> None:
    """Fill the gaps, so many at a time; `train_one` writes its record as soon as its run is over, and sums it up."""
    missing = [run for run in runs if not has_record(run)]
    if not missing:
        return
    out.mkdir(parents=True, exist_ok=True)
    if jobs == 1:
        for count, run in enumerate(missing, start=1):
            print(f"{count}/{len(missing)} {run.name}: {train_one(run)}", flush=True)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = {pool.submit(train_one, run): run for run in missing}
        try:
            for count, done in enumerate(as_completed(waiting), start=1):
                print(f"{count}/{len(missing)} {waiting[done].name}: {done.result()}", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an error or Ctrl-C would else wait for all that is queued
            raise


def record_path(out: Path, run: NamedRun) -> Path:
    """Where a run's record lies."""
    return out / f"{run.name}.json"


def read_stored(out: Path, run: NamedRun, header: Header) -> dict[str, Any] | None:
    """The record of a finished run with this header, or None."""
    path = record_path(out, run)
    if not path.is_file():
        return None
    stored: dict[str, Any] = json.loads(path.read_text())
    if any(stored[name] != header[name] for name in header):
        return None
    record: dict[str, Any] = stored["record"]
    return record


def write_results(path: Path, head: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """One line a run: readable diffs, and a file that can still be opened."""
    lines = ",\n".join(json.dumps(record) for record in records)
    text = f'{json.dumps(head, indent=1)[:-2]},\n "runs": [\n{lines}\n]\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(text.encode()))

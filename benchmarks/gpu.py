"""Everything that wants a GPU, in ten minutes: the tests of the kernels, then all rows, written after every one.

    python benchmarks/gpu.py                        # writes benchmarks/results/gpu_<device>.json
    python benchmarks/gpu.py --device cpu --quick   # the same code without a GPU, into runs/gpu_quick.json

A worker does the rows; it is started again where a kernel broke the device or hangs, and goes on with the next row.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gpu_rows import work
from matchloss.bench.environment import ENVIRONMENT, load
from matchloss.bench.provenance import ROOT, device_name, provenance
from matchloss.recipes.checkpoint import write_json

MINUTES, HANGS, TESTS_AT_MOST = 9.5, 120.0, 180.0
"""In all; seconds without a new row after which the worker is stopped; seconds of the tests."""
EMPTY: dict[str, Any] = {"rows": [], "done": [], "failures": {}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Tests first, in a process of their own, then rows until all are done or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try this script")
    parser.add_argument("--quick", action="store_true", help="small tensors: does it run, not how fast")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all")
    parser.add_argument("--no-tests", action="store_true", help="rows only")
    parser.add_argument("--out", type=Path, help="results file; rows that are in it are not measured again")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    out = options.out or default_file(options.device, quick=options.quick)
    if options.worker:
        write = partial(write_results, out, options.device, options.quick)
        sys.exit(0 if work(out, options.device, quick=options.quick, read=read_results, write=write) else 3)
    deadline = time.monotonic() + 60 * options.minutes
    out.parent.mkdir(parents=True, exist_ok=True)
    if not options.no_tests:
        tests = run_tests(options.device)
        write_results(out, options.device, options.quick, read_results(out) | {"tests": tests})
    supervise(out, options.device, quick=options.quick, deadline=deadline)
    results = read_results(out)
    print(f"{len(results['rows'])} rows, {len(results['failures'])} failures: {out}")


def default_file(device: str, *, quick: bool) -> Path:
    """Small tensors tell nothing of speed, and must not stand among the results."""
    if quick:
        return ROOT / "runs" / "gpu_quick.json"
    name = re.sub(r"\W+", "_", device_name(device)).lower()
    return ROOT / "benchmarks" / "results" / f"gpu_{name}.json"


def run_tests(device: str) -> dict[str, Any]:
    """The kernels' tests on the device; without a GPU, in Triton's interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {} if device.startswith("cuda") else {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "tests/cuda"]
    began = time.monotonic()
    try:
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TESTS_AT_MOST
        )
        code, printed = ended.returncode, ended.stdout
    except subprocess.TimeoutExpired as error:
        code, printed = -1, error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
    print(printed[-3000:], flush=True)
    lines = printed.strip().splitlines()
    last = lines[-1] if code >= 0 and lines else f"stopped after {TESTS_AT_MOST:.0f} seconds"
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"exit": code, "seconds": round(time.monotonic() - began), "last": last, "failed": failed[:50]}


def supervise(out: Path, device: str, *, quick: bool, deadline: float) -> None:
    """Start a worker until one comes to the end."""
    command = [sys.executable, str(Path(__file__)), "--worker", "--device", device, "--out", str(out)]
    while time.monotonic() < deadline:
        worker = subprocess.Popen([*command, *(["--quick"] if quick else [])], env=os.environ | ENVIRONMENT)
        if not watch(worker, out, deadline):
            return
        note_what_broke(out, device, quick=quick)


def watch(worker: subprocess.Popen[bytes], out: Path, deadline: float) -> bool:
    """Wait for a worker; say whether it broke in the middle and another should go on."""
    seen, since = 0, time.monotonic()
    while worker.poll() is None:
        time.sleep(0.2)
        written = out.stat().st_mtime_ns if out.is_file() else 0
        if written != seen:
            seen, since = written, time.monotonic()
        if time.monotonic() > deadline or time.monotonic() - since > HANGS:
            worker.kill()
            worker.wait()
            return time.monotonic() <= deadline
    return worker.returncode != 0


def note_what_broke(out: Path, device: str, *, quick: bool) -> None:
    """The row that was begun and is not in the file took its process with it."""
    results = read_results(out)
    begun = results.pop("begun", "before the first row")
    if begun not in results["done"]:
        results["failures"].setdefault(begun, "the process died of it, or it hung")
    if begun == "before the first row" and len(results["rows"]) == 0:
        sys.exit("the worker cannot start")
    write_results(out, device, quick, results)


def read_results(path: Path) -> dict[str, Any]:
    """What is there already, or nothing."""
    fresh = json.loads(json.dumps(EMPTY))
    return fresh | json.loads(path.read_text()) if path.is_file() else fresh


def write_results(path: Path, device: str, quick: bool, results: dict[str, Any]) -> None:
    """The machine, then the numbers."""
    about = {"quick": quick, "load_at_end": load(), "times": "each run begins with a cold L2 cache"}
    write_json(path, results | provenance(device) | about)


if __name__ == "__main__":
    main()

"""AP50 over processor time of finished detection runs, into benchmarks/results/training_curves.json.

    matchloss train detect --model rtdetr --data DIR --out runs/rtdetr --accelerator cpu
    python benchmarks/training_curves.py runs/rtdetr ...

A run is named by its folder, and takes the place of an earlier one of that name.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matchloss.recipes.checkpoint import write_json
from matchloss.recipes.log import read_history
from provenance import ROOT, provenance

RESULTS = ROOT / "benchmarks" / "results" / "training_curves.json"
SHOWN = ("model", "size", "steps", "batch_size", "lr", "turn", "ema", "seed")


def main() -> None:
    """Add the curves of some runs to those that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runs": {}}
    for run in parser.parse_args().runs:
        stored["runs"][run.name] = curve(run)
        print(f"{run.name}: AP50 {max(stored['runs'][run.name]['ap50']):.3f} at best")
    write_json(RESULTS, {"provenance": provenance(), "runs": stored["runs"]})


def curve(run: Path) -> dict[str, Any]:
    """What a run was set to, and what it reached when."""
    settings = json.loads((run / "settings.json").read_text())
    scored = [record for record in read_history(run) if "scores" in record]
    return {
        "settings": {name: settings[name] for name in SHOWN},
        "data": Path(settings["data"]).name,
        "step": [record["step"] for record in scored],
        "cpu_minutes": [round(record["cpu_seconds"] / 60, 2) for record in scored],
        "ap50": [round(record["scores"]["ap50"], 4) for record in scored],
        "ap": [round(record["scores"]["ap"], 4) for record in scored],
    }


if __name__ == "__main__":
    main()

"""Scores over processor time of finished runs that find boxes or words, into benchmarks/results/training_curves.json.

    matchloss train detect --model rtdetr --data DIR --out runs/rtdetr --accelerator cpu
    python benchmarks/training_curves.py runs/rtdetr ...

A run is named by its folder, and takes the place of an earlier one of that name.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matchloss.bench.provenance import ROOT, provenance
from matchloss.recipes.checkpoint import write_json
from matchloss.recipes.log import read_history

RESULTS = ROOT / "benchmarks" / "results" / "training_curves.json"
SHOWN = ("model", "size", "long_side", "crop", "score_threshold", "steps", "batch_size", "lr", "turn", "ema", "seed")
SCORES = ("ap50", "ap", "hmean", "precision", "recall")
"""Those of them that a run has; the first is the one it is judged by."""


def main() -> None:
    """Add the curves of some runs to those that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runs": [], "curves": {}}
    for run in parser.parse_args().runs:
        stored["runs"] = [row for row in stored["runs"] if row["run"] != run.name] + [summary(run)]
        stored["curves"][run.name] = curve(run)
        print(f"{run.name}: {stored['runs'][-1]}")
    write_json(RESULTS, {"provenance": provenance(), "runs": stored["runs"], "curves": stored["curves"]})


def summary(run: Path) -> dict[str, Any]:
    """What a run was set to, and the best that it reached."""
    settings, reached = json.loads((run / "settings.json").read_text()), curve(run)
    judged_by = next(name for name in SCORES if name in reached[0])
    best = max(reached, key=lambda row: row[judged_by])
    told = {name: settings[name] for name in SHOWN if name in settings}
    return {
        "run": run.name,
        "data": Path(settings["data"]).name,
        **told,
        "stopped_after": reached[-1]["step"],
        f"best_{judged_by}": best[judged_by],
        "its_step": best["step"],
    }


def curve(run: Path) -> list[dict[str, float]]:
    """What it had reached when."""
    return [
        {
            "step": record["step"],
            "cpu_minutes": round(record["cpu_seconds"] / 60, 2),
            **{name: round(record["scores"][name], 4) for name in SCORES if name in record["scores"]},
        }
        for record in read_history(run)
        if "scores" in record
    ]


if __name__ == "__main__":
    main()

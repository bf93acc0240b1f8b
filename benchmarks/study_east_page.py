"""The page of the study of EAST's score losses, made from the results file alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from matchloss.recipes.checkpoint import write_atomically
from study_east_runs import LOSSES
from study_page import claim_parts, mean_text, table
from study_verdict import RULE

Record = dict[str, Any]


def write_page(results: dict[str, Any], path: Path) -> None:
    """Write it."""
    text = "\n\n".join([*_head(results), *_verdicts(results), *_table_of_losses(results), *_setting(results)]) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _head(results: dict[str, Any]) -> list[str]:
    runs, seeds = results["runs"], len({run["seed"] for run in results["runs"]})
    return [
        "# EAST's score losses compared",
        "<!-- Written by benchmarks/study_east.py --page. Change that, not this. -->",
        f"EAST is trained {len(runs)} times on street photos, with {seeds} seeds for each loss of its score map, and "
        "what practitioners say of these losses is held against the numbers. The runs are a few minutes long, far from "
        "a detector one would use: this tells how the losses begin, not how they end.",
    ]


def _verdicts(results: dict[str, Any]) -> list[str]:
    summary = [[claim["saying"], f"**{claim['verdict']}**"] for claim in results["claims"]]
    parts = ["## Verdicts", table(("Said", "Here"), summary), RULE.replace("\n", " ")]
    for claim in results["claims"]:
        parts += claim_parts(claim)
    return parts


def _table_of_losses(results: dict[str, Any]) -> list[str]:
    columns: dict[str, tuple[Callable[[Record], float], str]] = {
        "F": (lambda run: run["hmean"], ".3f"),
        "Precision": (lambda run: run["precision"], ".3f"),
        "Recall": (lambda run: run["recall"], ".3f"),
        "False words": (lambda run: run["false_words"], ".0f"),
        "False cells %": (lambda run: 100 * run["false_cells"], ".2f"),
        "Missed cells %": (lambda run: 100 * run["missed_cells"], ".1f"),
        "Value at the end": (lambda run: np.mean(list(run["loss"].values())), ".4f"),
    }
    rows = []
    for loss in LOSSES:
        runs = [run for run in results["runs"] if run["loss_name"] == loss]
        rows.append([loss, *(mean_text(runs, value, form) for value, form in columns.values())])
    return [
        "## All losses",
        "Mean and standard deviation over the seeds, on the validation photos, of the last weights. *False cells*: "
        "share of the background above the threshold of one half; *missed cells*: share of the text below it; *false "
        "words*: found and not there. *Value*: of the score's terms without their weights, their mean if two.",
        table(("Loss", *columns), rows),
    ]


def _setting(results: dict[str, Any]) -> list[str]:
    length, versions = results["length"], results["versions"]
    changed = ", with changes not committed" if results["uncommitted_changes"] else ""
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "numpy", "scipy"))
    side, minutes = length["crop"], max(run["cpu_seconds"] for run in results["runs"]) / 60
    return [
        "## How it was done",
        f"Data: {results['data']}, its own lists, photos scaled to {length['long_side']} pixels. Each run is "
        f"{length['steps']} steps of {length['batch_size']} crops of {side} x {side} pixels with the recipe's small "
        "network from random weights, its augmentation, drawn words and average of the weights; all losses have the "
        "same learning rate, and the geometry's terms are the paper's. In the names stand the weights; Dice is that of "
        f"the whole batch. A run took up to {minutes:.1f} minutes of processor time.",
        f"Measured at commit {results['commit'][:12]}{changed}, with {packages}, Python {results['python']}, on "
        f"{results['device']}, {results['threads']} thread a run. Every number stands in "
        "`benchmarks/results/study_east.json`; `make study-east` measures again.",
    ]

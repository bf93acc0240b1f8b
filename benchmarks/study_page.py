"""The study's page, made from the results file alone."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matchloss.recipes.checkpoint import write_atomically
from study_claims import IOU_MARGIN, compare, iou
from study_figures import draw_norms, draw_shares
from study_runs import LOSSES, SHARE_LOSSES, SHARES
from study_verdict import RULE

Record = dict[str, Any]

NAMES = {
    "cross_entropy": "cross entropy",
    "focal": "focal (gamma 2)",
    "dice": "Dice",
    "jaccard": "Jaccard",
    "lovasz": "Lovasz",
    "cross_entropy+dice": "cross entropy + Dice",
    "focal+dice": "focal + Dice",
}


def write_page(results: dict[str, Any], path: Path) -> None:
    """Write the page, and its figures into assets/ beside it."""
    assets = path.parent / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    draw_shares(results["runs"], NAMES, assets / "study_segmentation_shares.svg")
    draw_norms(results["runs"], NAMES, assets / "study_segmentation_norms.svg")
    text = "\n\n".join([*_head(results), *_claims(results), *_tables(results), *_setting(results)]) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _head(results: dict[str, Any]) -> list[str]:
    runs, seeds = results["runs"], len({run["seed"] for run in results["runs"]})
    return [
        "# Segmentation losses compared",
        "<!-- Written by benchmarks/study_segmentation.py --page. Change that, not this. -->",
        f"A small U-Net is trained {len(runs)} times on cell nuclei, with {seeds} seeds for each loss, and what is "
        "said of losses is held against the numbers. The runs are short, the data is one kind and there are few seeds: "
        "this tells what happens here, not what happens always.",
    ]


def _claims(results: dict[str, Any]) -> list[str]:
    summary = [[claim["saying"], f"**{claim['verdict']}**"] for claim in results["claims"]]
    parts = ["## Verdicts", table(("Said", "Here"), summary), RULE.replace("\n", " ")]
    for claim in results["claims"]:
        parts += claim_parts(claim)
    count = sum(len(claim["rows"]) for claim in results["claims"])
    missing = 0.05 * count
    return [*parts, f"Of {count} intervals at 95%, expect {missing:.1f} to miss the true value by chance."]


def claim_parts(claim: dict[str, Any]) -> list[str]:
    """One claim with its rows."""
    rows = [[row["label"], *_effect(row["effect"], row["ratio"])] for row in claim["rows"]]
    header = ("Row", "Effect", "95% interval", "Margin", "Verdict")
    return [f"### {claim['saying']}", f"Measured: {claim['measured']}.", table(header, rows)]


def _effect(effect: dict[str, Any], ratio: bool) -> list[str]:
    if ratio:
        mean, low, high, margin = (f"{math.exp(effect[name]):.2f}x" for name in ("mean", "low", "high", "margin"))
    else:
        mean, low, high, margin = (f"{effect[name]:+.3f}" for name in ("mean", "low", "high", "margin"))
    return [mean, f"{low} to {high}", margin, effect["verdict"]]


def _tables(results: dict[str, Any]) -> list[str]:
    runs = results["runs"]
    return [
        "## All losses on whole images",
        "Mean and standard deviation over the seeds, on the validation images. *Spread* is the standard deviation of "
        "the gradient norm over its mean, and its 95th over its 5th percentile, in the second half of the training.",
        table(
            ("Loss", "Foreground IoU", "Foreground Dice", "Steps to IoU 0.7", "Spread", "95th / 5th", "Seconds"),
            [[NAMES[loss], *_main_cells(_of(runs, loss, None))] for loss in LOSSES],
        ),
        "## Foreground shares",
        "![Foreground IoU by share of foreground](assets/study_segmentation_shares.svg)",
        "The gain over cross entropy has the 95% interval and the verdict of the rule above.",
        table(
            ("Foreground", "Loss", "Foreground IoU", "Gain over cross entropy", "Spread", "95th / 5th"),
            [_share_cells(runs, share, loss) for share in SHARES for loss in SHARE_LOSSES],
        ),
        "![Gradient norm by step](assets/study_segmentation_norms.svg)",
        "## Before the first step",
        "Mean length of the gradient with respect to a pixel's logits, in millionths, with untrained weights.",
        table(
            ("Foreground", "Loss", "On a foreground pixel", "On a background pixel", "Foreground's part of the whole"),
            [_start_cells(runs, share, loss) for share in SHARES for loss in SHARE_LOSSES],
        ),
        "## Hard pixels",
        "Share of the gradient with respect to the logits that falls on the tenth of the pixels with the lowest "
        "probability of their label, halfway through the training with cross entropy; gamma 0 is cross entropy.",
        _hard_table(runs),
    ]


def _main_cells(runs: Sequence[Record]) -> list[str]:
    reached = [run["steps_to_reach"] for run in runs]
    steps = ", ".join("never" if step is None else str(step) for step in reached)
    return [
        mean_text(runs, iou, ".3f"),
        mean_text(runs, lambda run: run["dice"], ".3f"),
        steps,
        *_spread_cells(runs),
        f"{np.mean([run['seconds'] for run in runs]):.0f}",
    ]


def _share_cells(runs: Sequence[Record], share: float, loss: str) -> list[str]:
    of_loss = _of(runs, loss, share)
    gain = "-"
    if loss != "cross_entropy":
        effect = compare(runs, loss, "cross_entropy", share, iou, IOU_MARGIN).effect
        gain = f"{effect.mean:+.3f} ({effect.low:+.3f} to {effect.high:+.3f}), {effect.verdict}"
    return [f"{share:.0%}", NAMES[loss], mean_text(of_loss, iou, ".3f"), gain, *_spread_cells(of_loss)]


def _spread_cells(runs: Sequence[Record]) -> list[str]:
    names = ("deviation_over_mean", "p95_over_p5")
    return [mean_text(runs, lambda run, name=name: run["norm_spread"][name], ".2f") for name in names]  # type: ignore[misc]


def _start_cells(runs: Sequence[Record], share: float, loss: str) -> list[str]:
    starts = [run["at_start"] for run in _of(runs, loss, share)]
    on_object, around = (
        mean_text(starts, lambda start, name=name: 1e6 * start[name], ".2f")  # type: ignore[misc]
        for name in ("per_foreground_pixel", "per_background_pixel")
    )
    return [
        f"{share:.0%}",
        NAMES[loss],
        on_object,
        around,
        mean_text(starts, lambda start: start["foreground_part"], ".3f"),
    ]


def _hard_table(runs: Sequence[Record]) -> str:
    parts = [run["hard_parts"] for run in _of(runs, "cross_entropy", None)]
    rows = [[gamma, mean_text(parts, lambda part, gamma=gamma: part[gamma], ".3f")] for gamma in parts[0]]  # type: ignore[misc]
    return table(("Gamma", "On the hardest tenth"), rows)


def _setting(results: dict[str, Any]) -> list[str]:
    length, versions = results["length"], results["versions"]
    shares = {
        share: np.mean([run["foreground"] for run in results["runs"] if run["share"] == share]) for share in SHARES
    }
    made = ", ".join(f"{mean:.1%} for {share:.0%}" for share, mean in shares.items())
    changed = ", with changes not committed" if results["uncommitted_changes"] else ""
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "monai", "numpy", "scipy"))
    side = length["crop"]
    return [
        "## How it was done",
        f"Data: {results['data']}, its own training and validation lists. Each run is {length['steps']} steps of "
        f"{length['batch_size']} crops of {side} x {side} pixels, AdamW at {length['lr']:g}, warm-up and cosine "
        "for every loss, in float32 and without gradient clipping, which would hide what is measured. No loss had its "
        "learning rate tuned. The model is the recipe's U-Net at half its width; the losses are terms of "
        "`SegmentationCriterion` with its default options, so Dice and Jaccard are means over images and over both "
        "classes, background included. IoU and Dice are those of the foreground, from one confusion matrix over all "
        f"validation pixels. Every {length['validate_every']} steps a third of the validation images is scored; the "
        "steps to IoU 0.7 are read from that.",
        "Foreground shares: crops of real images, untouched but for flips, turns and colour, chosen where the share of "
        "foreground is within a factor of 1.25 of the one asked for; the closest of each image first, then its second "
        f"and third. At most {length['train_crops']} train and {length['val_crops']} validation crops a share. "
        f"Measured over the training crops: {made}. The images differ between shares (one small nucleus on dark ground "
        "at 1%, dense tissue at 50%): compare losses within a share, not shares with each other.",
        f"Measured at commit {results['commit'][:12]}{changed}, with {packages}, Python {results['python']}, on "
        f"{results['device']}, {results['threads']} thread a run. Seconds are wall time on a shared machine. Every "
        "number stands in `benchmarks/results/study_segmentation.json`; `make study-segmentation` measures again.",
    ]


def _of(runs: Sequence[Record], loss: str, share: float | None) -> list[Record]:
    return [run for run in runs if run["loss_name"] == loss and run["share"] == share]


def mean_text(items: Sequence[Record], value: Callable[[Record], float], form: str) -> str:
    """Mean and deviation."""
    values = [value(item) for item in items]
    deviation = f" ± {np.std(values, ddof=1):{form}}" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{deviation}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)

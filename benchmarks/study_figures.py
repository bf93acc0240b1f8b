"""The study's two figures, as SVGs that are equal for equal numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from study_runs import SHARE_LOSSES, SHARES

Record = dict[str, Any]

COLOURS = dict(zip(SHARE_LOSSES, ("#0072b2", "#d55e00", "#009e73"), strict=True))  # told apart by colour-blind eyes


def draw_shares(runs: Sequence[Record], names: Mapping[str, str], path: Path) -> None:
    """A dot a run, a bar at each mean."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for place, share in enumerate(SHARES):
        for offset, loss in enumerate(SHARE_LOSSES, start=-1):
            values = [run["iou"] for run in runs if run["loss_name"] == loss and run["share"] == share]
            x = place + 0.2 * offset
            label = names[loss] if place == 0 else None
            axes.plot([x] * len(values), values, "o", color=COLOURS[loss], markersize=4, label=label)
            axes.plot([x - 0.07, x + 0.07], [np.mean(values)] * 2, color=COLOURS[loss])
    axes.set(xticks=range(len(SHARES)), xticklabels=[f"{share:.0%}" for share in SHARES])
    axes.set(xlabel="share of foreground", ylabel="foreground IoU")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def draw_norms(runs: Sequence[Record], names: Mapping[str, str], path: Path) -> None:
    """The first seed's norms over the training, on a logarithmic axis: a spread is a factor."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    first = min(run["seed"] for run in runs)
    for axes, share in zip(figure.subplots(1, len(SHARES), sharey=True), SHARES, strict=True):
        for loss in SHARE_LOSSES:
            norms = next(
                run["gradient_norm"]
                for run in runs
                if run["loss_name"] == loss and run["share"] == share and run["seed"] == first
            )
            axes.semilogy(range(1, len(norms) + 1), norms, color=COLOURS[loss], linewidth=0.8, label=names[loss])
        axes.set(title=f"{share:.0%} foreground", xlabel="step")
    figure.axes[0].set_ylabel("gradient norm")
    figure.axes[0].legend(frameon=False, fontsize=7, loc="upper right")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    # A fixed salt and no date: the file changes only with the numbers.
    with mpl.rc_context({"svg.hashsalt": "matchloss", "svg.fonttype": "none"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    # Matplotlib ends some lines with a space.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")

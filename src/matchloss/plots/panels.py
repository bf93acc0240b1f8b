"""Panels of lines, and how they are drawn; the only place that knows matplotlib."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Loss = Callable[..., Tensor]
Curves = dict[str, Loss]
"""Label -> the loss with its options set, ready for two tensors and `reduction`."""

# Okabe and Ito's colours, which the colour-blind can tell apart; the pale yellow, unreadable on white, is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#777777"
SUFFIXES = (".svg", ".png")


@dataclass(frozen=True)
class Line:
    """One curve."""

    label: str
    x: Tensor
    y: Tensor
    dashed: bool = False
    """A baseline, in grey, that the others are compared with."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    xlabel: str
    lines: Sequence[Line]
    xscale: Literal["linear", "log"] = "linear"
    yscale: Literal["linear", "log"] = "linear"
    ylim: tuple[float, float] | None = None
    legend: str | None = None
    """A place inside, where the panels of a figure differ in their lines; None for one legend beside them."""
    spans: Sequence[tuple[str, float, float]] = ()
    """(name, from, to): stretches of x, marked under the curves."""


def draw(panels: Sequence[Panel], title: str, path: Path) -> None:
    """Write panels side by side as SVG or PNG; equal input gives equal bytes."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "plot: expected matplotlib to be installed, got none; pip install 'matchloss[train]'"
        ) from None
    # Paths instead of text: a reader's fonts are wider or narrower, and labels would run into each other.
    style: Any = {"svg.fonttype": "path", "svg.hashsalt": "matchloss", "font.size": 10, "font.family": "DejaVu Sans"}
    with rc_context(style):
        shared = all(panel.legend is None for panel in panels)
        figure = Figure(figsize=((3.4 if shared else 3.6) * len(panels) + (1.8 if shared else 0), 3.3), dpi=150)
        figure.set_layout_engine("constrained", w_pad=0.1)
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, axes in zip(panels, all_axes, strict=True):
            _draw_panel(panel, axes)
        handles, labels = all_axes[0].get_legend_handles_labels()
        if shared and len(labels) > 1:
            figure.legend(handles, labels, loc="outside right center", frameon=False)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_panel(panel: Panel, axes: Any) -> None:
    colours = iter(COLOURS)
    for name, start, end in panel.spans:
        axes.axvspan(start, end, color=GREY, alpha=0.14, linewidth=0)
        axes.text(start, 0.99, f" {name}", transform=axes.get_xaxis_transform(), va="top", color=GREY)
    for line in panel.lines:
        colour = GREY if line.dashed else next(colours)
        axes.plot(line.x.tolist(), line.y.tolist(), "--" if line.dashed else "-", color=colour, label=line.label)
    axes.set(xlabel=panel.xlabel, xscale=panel.xscale, yscale=panel.yscale)
    axes.set_title(panel.title, loc="left", fontsize=10)
    axes.set_ylim(panel.ylim or _ylim(panel))
    if panel.yscale == "log":
        axes.minorticks_off()  # between decades they come with labels, as wide as the panel where it is narrow
    else:
        axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.margins(x=0.01)
    if panel.legend:
        axes.legend(loc=panel.legend, frameon=False, handlelength=1.4, labelspacing=0.3)


def _ylim(panel: Panel) -> tuple[float, float]:
    """Whole decades, or a margin, with room above for the names of stretches."""
    values = torch.cat([line.y.double() for line in panel.lines])
    low, high = values.min().item(), values.max().item()
    if panel.yscale == "log":
        return 10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high))
    margin = 0.03 * (high - low)
    return low - margin, high + (5 if panel.spans else 1) * margin

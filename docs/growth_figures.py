"""How time and memory grow, one figure a family, from `growth_<device>.json`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reference_pages import escape

COLORS = {"matchloss": "#3f51b5", "matchloss, plain torch": "#9fa8da"}
OTHERS = ("#d9480f", "#2b8a3e", "#862e9c", "#868e96")
MEASURES = {"milliseconds": "ms", "peak_mib": "MiB"}
Sweep = Mapping[str, Any]


def growth_blocks(data: Mapping[str, Any]) -> list[str]:
    """The figures, each with its sizes in words."""
    blocks = [
        f"Measured on {escape(data['device'])}, {data['threads']} threads: what one number of a size costs while the "
        "others stay. Both axes are logarithmic, so a straight line is a power, and a step of the grid a factor of 10."
    ]
    for family in families(data["sweeps"]):
        words = "; ".join(
            f"{sweep['over']}: {escape(sweep['fixed'])}" for sweep in data["sweeps"] if is_of(sweep, family)
        )
        blocks += [
            f"### {escape(family)}",
            f"![Growth of {family}](../figures/{file_name(family)})",
            f"Fixed: {words}.",
        ]
    return blocks


def draw_growth(results: Path, folder: Path) -> list[Path]:
    """Time above, memory below; a column for each size that grows."""
    sweeps = json.loads(results.read_text(encoding="utf-8"))["sweeps"]
    return [_draw(family, [one for one in sweeps if is_of(one, family)], folder) for family in families(sweeps)]


def families(sweeps: Sequence[Sweep]) -> list[str]:
    return list(dict.fromkeys(sweep["family"] for sweep in sweeps))


def is_of(sweep: Sweep, family: str) -> bool:
    return bool(sweep["family"] == family)


def file_name(family: str) -> str:
    return f"growth_{family.replace(' ', '_').replace('-', '_')}.svg"


def _draw(family: str, sweeps: Sequence[Sweep], folder: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams["svg.hashsalt"] = family  # the same drawing, the same file
    names = list(dict.fromkeys(name for sweep in sweeps for point in sweep["points"] for name in point["variants"]))
    colors = dict(zip((name for name in names if name not in COLORS), OTHERS, strict=False)) | COLORS
    size = (3.1 * len(sweeps) + 0.6, 5.6)
    figure, axes = pyplot.subplots(2, len(sweeps), figsize=size, sharex="col", sharey="row", squeeze=False)
    for column, sweep in enumerate(sweeps):
        for row, (measure, unit) in enumerate(MEASURES.items()):
            panel = axes[row][column]
            for name in names:
                _line(panel, sweep, name, measure, colors[name])
            panel.set(xscale="log", yscale="log")
            panel.set_xticks([point["at"] for point in sweep["points"]], [str(p["at"]) for p in sweep["points"]])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
            if not column:
                panel.set_ylabel(unit)
        axes[1][column].set_xlabel(sweep["over"])
    figure.suptitle(family)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=min(len(names), 4), frameon=False)
    figure.tight_layout(rect=(0, 0.07 if len(names) <= 4 else 0.11, 1, 1))
    path = folder / file_name(family)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _line(panel: Any, sweep: Sweep, name: str, measure: str, color: str) -> None:
    points = [point for point in sweep["points"] if name in point["variants"]]
    at = [point["at"] for point in points]
    # A hundredth of a MiB is as good as none, and none has no place on the axis.
    values = [max(point["variants"][name][measure], 0.01) for point in points]
    ours = name == "matchloss"
    panel.plot(at, values, "o-", color=color, label=name, lw=2.2 if ours else 1.3, ms=4, zorder=3 if ours else 2)

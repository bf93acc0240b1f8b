"""The page of a run: one HTML file with everything inside, made from sections that any recipe can fill."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from matchloss.recipes.checkpoint import write_atomically

LARGEST_PICTURE = 384
"""Pixels: a page with pictures of several megapixels would not open on a phone."""
LARGEST_PHOTO = 640


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    rows: Sequence[tuple[str, str]]

    def html(self) -> str:
        """A definition list."""
        return "<dl>" + "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in self.rows) + "</dl>"


@dataclass(frozen=True)
class Table:
    """Rows of text, the first column being their names."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """A table that scrolls by itself where it is too wide."""
        head = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in self.header)
        body = "".join(
            f"<tr><th scope=row>{escape(name)}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
            for name, *cells in self.rows
        )
        return f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


@dataclass(frozen=True)
class Curves:
    """One plot for each title: lines with their names, places and values."""

    plots: dict[str, dict[str, tuple[list[float], list[float]]]]
    across: str = "step"
    """What the places are."""

    def html(self) -> str:
        """Inline SVGs side by side."""
        figures = "".join(f"<figure>{_plot(title, lines, self.across)}</figure>" for title, lines in self.plots.items())
        return f"<div class=plots>{figures}</div>"


@dataclass(frozen=True)
class Gallery:
    """Pictures, uint8 (3, H, W), in rows with a caption each."""

    header: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Tensor]]]
    photos: bool = False
    """Keep them larger, and as JPEG, which photos with lines and letters in them stay readable in."""

    def html(self) -> str:
        """As many in a row as there are, on a phone two."""
        return "".join(self._row(caption, pictures) for caption, pictures in self.rows)

    def _row(self, caption: str, pictures: Sequence[Tensor]) -> str:
        cells = "".join(
            f'<figure><img src="{picture_uri(picture, photo=self.photos)}" alt="{escape(name)} of {escape(caption)}">'
            f"<figcaption>{escape(name)}</figcaption></figure>"
            for name, picture in zip(self.header, pictures, strict=True)
        )
        columns = f"--columns: {len(self.header)}"
        return f'<h3>{escape(caption)}</h3><div class=pictures style="{columns}">{cells}</div>'


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, and what is shown."""

    title: str
    text: str
    content: Facts | Table | Curves | Gallery


def write_page(run: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write `index.html`, which opens from the file system: no network, no scripts."""
    body = "".join(
        f"<section><h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>{section.content.html()}</section>"
        for section in sections
    )
    page = (
        '<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )
    write_atomically(run / "index.html", lambda file: file.write(page.encode()))
    return run / "index.html"


def curve(records: list[dict[str, Any]], group: str, name: str) -> tuple[list[float], list[float]]:
    """Take one curve from the history: steps and values."""
    values = [record[group][name] for record in records]
    return [record["step"] for record in records], [math.nan if value is None else value for value in values]


def over_time(records: list[dict[str, Any]], name: str, title: str) -> Curves:
    """Draw a score of the history over the minutes of a training, by the clock and by processor time."""
    scored = [record for record in records if "scores" in record and "cpu_seconds" in record]
    values = curve(scored, "scores", name)[1]
    lines = {
        "by the clock": ([record["seconds"] / 60 for record in scored], values),
        "processor time": ([record["cpu_seconds"] / 60 for record in scored], values),
    }
    return Curves({title: lines}, across="minutes")


def spread(count: int, most: int) -> list[int]:
    """Choose at most so many of 0 .. count - 1, evenly, with the first and the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def percent(value: float) -> str:
    """Write a share; what was not there to be scored is NaN."""
    return "absent" if math.isnan(value) else f"{100 * value:.1f}"


def picture_uri(picture: Tensor, *, photo: bool = False) -> str:
    """Put a picture into a data: address, made smaller if it is large."""
    longest, most = max(picture.shape[-2:]), LARGEST_PHOTO if photo else LARGEST_PICTURE
    if longest > most:
        size = [max(1, side * most // longest) for side in picture.shape[-2:]]
        picture = F.interpolate(picture[None].float(), size, mode="area")[0].round().byte()
    file, kind = io.BytesIO(), "jpeg" if photo else "png"
    Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy())).save(file, kind, quality=88)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def _plot(title: str, lines: dict[str, tuple[list[float], list[float]]], across: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ink = "#010203"  # stands for the page's text colour, dark or light, until the end
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10, "font.family": "sans-serif"}):
        figure = Figure(figsize=(5.4, 3.2), layout="constrained")
        axes: Any = figure.add_subplot()
        for name, (places, values) in lines.items():
            axes.plot(places, values, label=name, linewidth=1.6)
        axes.set_title(title, color=ink, loc="left")
        axes.set_xlabel(across, color=ink)
        axes.tick_params(colors=ink)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(ink)
        axes.grid(alpha=0.25)
        if len(lines) > 1:
            axes.legend(frameon=False, labelcolor=ink)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    return svg[svg.index("<svg") :].replace(ink, "currentColor")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fbfbf9; --card: #fff; --line: #dfe3e8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #9aa5b4; --paper: #14181e; --card: #1b2129; --line: #313a46 }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 1120px; margin: 0 auto; padding: 2rem 1rem 4rem }
h1 { font-size: 1.7rem; margin: 0 0 1.5rem }
h2 { font-size: 1.2rem; margin: 0 0 .25rem }
h3 { font-size: .9rem; font-weight: 500; margin: 1.25rem 0 .4rem; overflow-wrap: anywhere }
p { color: var(--soft); margin: 0 0 1rem; max-width: 75ch }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px }
section { padding: 1.25rem; margin: 0 0 1.25rem }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .75rem 1.5rem; margin: 0 }
dt { color: var(--soft); font-size: .8rem }
dd { margin: 0; overflow-wrap: anywhere }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .35rem 1.25rem .35rem 0; text-align: right; white-space: nowrap }
th, td { border-bottom: 1px solid var(--line) }
th:first-child { text-align: left }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem }
tbody th { font-weight: 500 }
figure { margin: 0 }
figcaption { color: var(--soft); font-size: .8rem; margin-top: .2rem }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem }
.plots svg { width: 100%; height: auto }
.pictures { display: grid; grid-template-columns: repeat(var(--columns), 1fr); gap: .6rem }
.pictures img { display: block; width: 100%; border-radius: 4px }
@media (max-width: 40rem) { .pictures { grid-template-columns: repeat(2, 1fr) } }
"""

"""Write the reference from the docstrings and the figures from the losses, then build `site/` with mkdocs."""

import inspect
import logging
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from growth_figures import draw_growth
from reference_pages import DocsError, catalogue_page, check, loss_page, package_of, parts_page
from results_page import results_page

import matchloss
from matchloss import evaluation, geometry, losses, postprocess
from matchloss.catalogue import PACKAGES, Entry, entries
from matchloss.plots import plot

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REFERENCE, FIGURES = DOCS / "reference", DOCS / "figures"
GUIDES = (
    "segmentation.md",
    "detection.md",
    "text.md",
    "task_aligned.md",
    "set_prediction.md",
    "cross_entropy.md",
    "focal.md",
    "boxes.md",
    "rotated.md",
    "speed.md",
    "adding_a_loss.md",
)
PARTS = {
    "types.md": ("Types", "What travels between the parts, and one switch, all from `matchloss` itself.", matchloss),
    "geometry.md": ("Geometry", "Boxes, points and anchors, from `matchloss.geometry`.", geometry),
    "postprocess.md": ("Postprocessing", "Decoding and suppression, from `matchloss.postprocess`.", postprocess),
    "evaluation.md": ("Evaluation", "Protocols that no library has, from `matchloss.evaluation`.", evaluation),
}
LOADED = re.compile(
    r"<(?:link|script|img|iframe|source|object|embed)\b[^>]*?\b(?:src|href|data)=[\"']?((?:https?:)?//[^\"'\s>]+)"
)
STYLED = re.compile(r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)")


def main() -> None:
    groups = write_reference()
    draw_figures()
    build_site(navigation(groups))
    loaded = external_resources(ROOT / "site")
    if loaded:
        raise DocsError(f"the pages load from other machines: {'; '.join(loaded)}")
    print(f"{len(list((ROOT / 'site').rglob('*.html')))} pages: {ROOT / 'site' / 'index.html'}")


def write_reference() -> dict[str, list[Entry]]:
    """One page a public name, the catalogue, the types and the measurements."""
    everything = [entry for package in PACKAGES.values() for entry in entries(package)]
    check(everything)
    check_complete(everything)
    pages = {name: f"{entry.name}.md" for entry in everything for name in (entry.name, entry.module) if name}
    groups: dict[str, list[Entry]] = {}
    for entry in everything:
        package = package_of(entry)
        heading = entry.heading if package == "losses" else f"{package.capitalize()}: {entry.heading.lower()}"
        groups.setdefault(heading, []).append(entry)
    for folder in (REFERENCE, FIGURES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    for group in groups.values():
        for entry in group:
            others = [other for other in group if other is not entry]
            write(f"{entry.name}.md", loss_page(entry, others, pages, figure=package_of(entry) == "losses"))
    write("index.md", catalogue_page(groups, pages))
    for file, (title, intro, package) in PARTS.items():
        write(file, parts_page(title, intro, package.__name__, public(package), pages))
    write("results.md", results_page(ROOT / "benchmarks" / "results", DOCS))
    return groups


def public(package: ModuleType) -> dict[str, Any]:
    """What a package offers: its functions and classes."""
    found = {name: value for name, value in vars(package).items() if not name.startswith("_")}
    return {name: value for name, value in found.items() if inspect.isfunction(value) or inspect.isclass(value)}


def check_complete(everything: Sequence[Entry]) -> None:
    """Refuse public names that have no entry, and so no page."""
    known = {name for entry in everything for name in (entry.name, entry.module)}
    for package in PACKAGES.values():
        for name in public(package):
            if name not in known:
                raise DocsError(f"{name}: it is public in {package.__name__}, but it is in no import line there")


def draw_figures() -> None:
    """The curve of each loss, and how costs grow."""
    for entry in entries(losses):
        plot(entry.name, FIGURES / f"{entry.name}.svg")
    for results in (ROOT / "benchmarks" / "results").glob("growth_*.json"):
        draw_growth(results, FIGURES)


def navigation(groups: Mapping[str, Sequence[Entry]]) -> list[dict[str, Any]]:
    """Guides in a reading order, then the reference by heading."""
    others = sorted(page.name for page in DOCS.glob("*.md") if page.name not in (*GUIDES, "index.md"))
    reference: list[dict[str, Any]] = [{"Catalogue": "reference/index.md"}]
    reference += [
        {heading: [{entry.name: f"reference/{entry.name}.md"} for entry in group]} for heading, group in groups.items()
    ]
    return [
        {"Home": "index.md"},
        {"Guides": list(GUIDES)},
        {"Reference": [*reference, *({title: f"reference/{file}"} for file, (title, *_) in PARTS.items())]},
        {"Measurements": ["reference/results.md", *others]},
    ]


def build_site(nav: list[dict[str, Any]]) -> None:
    """Run mkdocs, for which a warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")  # or mkdocs fails without a word
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, nav=nav))


def external_resources(site: Path) -> list[str]:
    """What the pages would fetch from elsewhere; a link to click is none."""
    found = []
    for file in sorted(site.rglob("*")):
        if file.suffix in (".html", ".css", ".svg"):
            text = file.read_text(encoding="utf-8")
            hits = LOADED.findall(text) + STYLED.findall(text)
            found += [f"{file.relative_to(site)} loads {hit}" for hit in hits]
    return found


def write(name: str, text: str) -> None:
    (REFERENCE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except DocsError as error:
        sys.exit(f"error: {error}")

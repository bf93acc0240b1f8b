"""The measurements: tables from `benchmarks/results/*.json`, whatever each of them holds."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench_page import NO_GPU, bench_tables
from growth_figures import growth_blocks
from reference_pages import DocsError, escape

PROVENANCE = ("commit", "uncommitted_changes", "python", "versions", "device", "cores", "threads")


def results_page(folder: Path, docs: Path) -> str:
    """One section a file; a file with a page of its own, `docs/<name>.md`, is only linked."""
    blocks = [
        "# Measurements",
        "Every number here is read from a file in `benchmarks/results`, which says where it was measured.",
    ]
    files = sorted(folder.glob("*.json"))
    if not files:
        blocks.append("There is no results file yet; `make bench` writes one.")
    if not any(file.stem.startswith(("gpu_", "bench_cuda")) for file in files):
        blocks.append(NO_GPU)
    for file in files:
        blocks += [f"## {file.stem.replace('_', ' ')}", *_section(file, docs)]
    return "\n\n".join(blocks) + "\n"


def _section(file: Path, docs: Path) -> list[str]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DocsError(f"{file.name} cannot be read as JSON: {error}") from error
    data = data if isinstance(data, dict) else {"results": data}
    blocks = [provenance_line(file.name, data)]
    if (docs / f"{file.stem}.md").is_file():
        return [*blocks, f"[Its own page](../{file.stem}.md) has the tables."]
    if "sweeps" in data:
        return [*blocks, *growth_blocks(data)]
    if file.stem.startswith(("bench_", "gpu_")):
        return [*blocks, *bench_tables(data)]
    tables = {name: rows_of(value) for name, value in data.items() if name not in PROVENANCE}
    for name, rows in tables.items():
        if rows:
            blocks += [f"### {escape(name.replace('_', ' '))}", table(rows)]
    loose = {name: data[name] for name, rows in tables.items() if not rows and not isinstance(data[name], (dict, list))}
    return [*blocks, *([table([loose])] if loose else [])]


def provenance_line(name: str, data: Mapping[str, Any]) -> str:
    """Commit, versions and device, and what of them the file does not tell."""
    # A file may keep them in an object of their own.
    inner = [value for value in data.values() if isinstance(value, dict) and "commit" in value]
    facts = data if "commit" in data or not inner else inner[0]
    changed = " with uncommitted changes" if facts.get("uncommitted_changes") else ""
    versions = facts.get("versions")
    packages = (
        ", ".join(f"{package} {version}" for package, version in versions.items() if version)
        if isinstance(versions, dict)
        else versions
    )
    told = {
        "commit": f"{str(facts['commit'])[:12]}{changed}" if facts.get("commit") else None,
        "versions": packages,
        "device": facts.get("device"),
    }
    listed = "; ".join(f"{fact} {escape(str(text)) if text else 'not recorded'}" for fact, text in told.items())
    return f"From `{name}`: {listed}."


def rows_of(value: Any) -> list[dict[str, Any]]:
    """Read a list of objects, or an object of objects, as rows; nothing else is a table."""
    if isinstance(value, dict) and value and all(isinstance(one, dict) for one in value.values()):
        value = [{"name": name, **one} for name, one in value.items()]
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        return []
    return [_flat(one) for one in value]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name} {inner}": one for inner, one in value.items()}
        else:
            flat[name] = value
    return flat


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns in the order in which the rows first name them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numeric = [all(isinstance(row.get(name, 0), (int, float)) for row in rows) for name in columns]
    lines = [[escape(name.replace("_", " ")) for name in columns], ["---:" if right else "---" for right in numeric]]
    lines += [[cell(row.get(name)) for name in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return escape(", ".join(cell(one) for one in value)).replace("|", "&#124;")
    return escape(" ".join(str(value).split())).replace("|", "&#124;")

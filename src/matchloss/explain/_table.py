"""Tables in print."""

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align the columns of rows of cells, the first row being the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def class_name(names: Sequence[str] | None, label: int) -> str:
    """The name of a class, or its number."""
    return names[label] if names is not None and 0 <= label < len(names) else f"class {label}"

"""What matchloss offers, read from the import lines of its packages and the docstrings: :func:`entries`.

There is no other list. A loss that has its line in `losses/__init__.py` stands here, in the documentation, in the
plots and in `matchloss list`, under the heading above that line.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from . import assigners, criteria, encoders, losses

PACKAGES = {"losses": losses, "assigners": assigners, "encoders": encoders, "criteria": criteria}
"""Those whose every name is catalogued."""

SECTIONS = ("Shapes", "Args", "Raises", "Reference", "Differs", "Example")
"""Of a public docstring, in this order; before them stand the summary, the formula and the text."""


@dataclass(frozen=True)
class Entry:
    """One public name."""

    heading: str
    name: str
    module: str
    """The class: the module form of a loss, the criterion itself, or "" where there is only a function."""
    file: str
    """Stem of the source file in its package."""
    summary: str
    formula: str
    reference: str
    options: tuple[str, ...]
    """Everything that can be said by keyword."""
    value: Callable[..., Any]


def entries(package: ModuleType = losses) -> list[Entry]:
    """Read the names of a package in the order of its import lines.

    Example:
        >>> entry = entries()[0]
        >>> entry.heading, entry.name, entry.module
        ('Classification', 'cross_entropy_loss', 'CrossEntropyLoss')
        >>> entry.formula
        'L = -w_y log p_y,   log p = log_softmax(logits)'
    """
    lines = _import_lines(inspect.getsource(package))  # not a path: it also works from a zip file
    classes = {name.lower(): name for _, _, name in lines if name[0].isupper()}
    functions = [line for line in lines if line[2][0].islower()]
    # A class is the module form of the function of its name; a package without functions is one of classes.
    return [
        _entry(package, heading, file, name, classes.get(name.replace("_", "").lower(), ""))
        for heading, file, name in functions or lines
    ]


def doc_parts(thing: object) -> dict[str, str]:
    """Split a docstring into "summary", "formula", "text" and its sections, each without its indent.

    Example:
        >>> parts = doc_parts(losses.l1_loss)
        >>> parts["summary"], parts["formula"]
        ('Absolute difference of two numbers.', 'L = |x - t|')
        >>> parts["Reference"]
        'Carion et al. 2020, arXiv:2005.12872, eq. 9, for boxes.'
    """
    name = f"\n({'|'.join(SECTIONS)}):\n"
    intro, *rest = re.split(name, inspect.getdoc(thing) or "")
    summary, _, body = intro.partition("\n")
    # The formula is the first indented block; what follows it is text again.
    formula, _, text = body.strip("\n").partition("\n\n") if body.startswith("\n    ") else ("", "", body)
    parts = {"summary": summary, "formula": _unindented(formula), "text": text.strip()}
    return parts | {title: _unindented(content) for title, content in zip(rest[::2], rest[1::2], strict=True)}


def print_catalogue() -> None:
    """Print all losses, assigners, encoders and criteria by heading.

    Raises:
        ModuleNotFoundError: without rich, which comes with `matchloss[train]`.
    """
    try:
        from rich import console, table
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "print_catalogue: expected rich to be installed, got none; pip install 'matchloss[train]'"
        ) from None
    everything = [(name, entry) for name, package in PACKAGES.items() for entry in entries(package)]
    width = max(len(entry.name) for _, entry in everything)
    terminal = console.Console()
    terminal.width = min(terminal.width, 100) if terminal.is_terminal else 100
    for package, heading in dict.fromkeys((package, entry.heading) for package, entry in everything):
        terminal.print(f"\n[bold]{heading}[/bold] (matchloss.{package})")
        grid = table.Table(box=None, show_header=False, pad_edge=False)
        grid.add_column(no_wrap=True, min_width=width)
        grid.add_column()
        for _, entry in (row for row in everything if (row[0], row[1].heading) == (package, heading)):
            grid.add_row(entry.name, entry.summary)
        terminal.print(grid)


def _unindented(text: str) -> str:
    """Not `inspect.cleandoc`, which reads the first line apart and so would flatten a list of one item."""
    return textwrap.dedent(text).strip()


def _import_lines(source: str) -> list[tuple[str, str, str]]:
    """(heading, file, name) of each public name that the source imports from its own package."""
    headings = {number: line[2:] for number, line in enumerate(source.splitlines(), 1) if line.startswith("# ")}
    found = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            above = [heading for number, heading in headings.items() if number < node.lineno]
            if not above:
                raise ValueError(f"entries: expected a '# Heading' above the import of {node.module}, got none")
            found += [(above[-1], node.module, alias.asname or alias.name) for alias in node.names]
    return [line for line in found if not line[2].startswith("_")]


def _entry(package: ModuleType, heading: str, file: str, name: str, module: str) -> Entry:
    value = getattr(package, name)
    parts = doc_parts(value)
    parameters = inspect.signature(value).parameters.values()
    return Entry(
        heading=heading,
        name=name,
        module=name if inspect.isclass(value) else module,
        file=file,
        summary=parts["summary"],
        formula=parts["formula"],
        reference=" ".join(parts.get("Reference", "").split()),
        options=tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY),
        value=value,
    )

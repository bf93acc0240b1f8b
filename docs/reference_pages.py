"""Pages of the reference, written from docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence

import matchloss
from matchloss import geometry
from matchloss.catalogue import PACKAGES, SECTIONS, Entry, doc_parts

ROLE_OR_CODE = re.compile(r":(?:func|class|meth):`([^`]+)`|``([^`]+)``|`([^`]+)`")
ITEM = re.compile(r"^(\S[^:\n]*): (.*(?:\n[ ]+.*)*)", re.MULTILINE)


class DocsError(Exception):
    """Something public is not documented; the message is meant for whoever adds it."""


def check(entries: Sequence[Entry]) -> None:
    """Refuse names without a formula or one of the sections, since their pages would have holes."""
    for entry in entries:
        parts = doc_parts(entry.value)
        missing = [title for title in ("summary", "formula", *SECTIONS) if not parts.get(title)]
        if missing:
            raise DocsError(f"{entry.name}: its docstring lacks {', '.join(missing)}")


def loss_page(entry: Entry, neighbours: Sequence[Entry], pages: Mapping[str, str], figure: bool) -> str:
    """One page: what it is, its curve, how to call it, each section, and what else there is."""
    parts = doc_parts(entry.value)
    defaults = {name: option.default for name, option in inspect.signature(entry.value).parameters.items()}
    blocks = [f"# {entry.name}", prose(parts["summary"], pages), fence("text", parts["formula"])]
    blocks += [prose(parts["text"], pages)]
    if figure:
        blocks += [f"![Loss and gradient of {entry.name}](../figures/{entry.name}.svg)"]
    blocks += ["## Call", fence("py", signature(entry))]
    if entry.module and entry.module != entry.name:
        blocks += [f"As a module: `{entry.module}`, with the same options; the tensors go to its call."]
    blocks += ["## Shapes and units", items(parts["Shapes"], pages, {})]
    blocks += ["## Options", items(parts["Args"], pages, defaults)]
    blocks += ["## Raises", items(parts["Raises"], pages, {})]
    blocks += ["## Reference", prose(parts["Reference"], pages), "## Differs", prose(parts["Differs"], pages)]
    blocks += ["## Example", example(parts["Example"], f"matchloss.{package_of(entry)}", entry.name, pages)]
    others = [f"- [`{other.name}`]({other.name}.md): {prose(other.summary, pages)}" for other in neighbours]
    if others:
        blocks += ["## See also", "\n".join(others)]
    return "\n\n".join(blocks) + "\n"


def catalogue_page(groups: Mapping[str, Sequence[Entry]], pages: Mapping[str, str]) -> str:
    """All names by heading."""
    packages = ", ".join(f"`matchloss.{name}`" for name in PACKAGES)
    blocks = ["# Catalogue", f"Everything that can be imported from {packages}."]
    for heading, entries in groups.items():
        blocks += [f"## {heading}"]
        for entry in entries:
            blocks += [f"### [`{entry.name}`]({entry.name}.md)", prose(entry.summary, pages)]
            blocks += [fence("text", entry.formula), prose(entry.reference, pages)]
    return "\n\n".join(blocks) + "\n"


def parts_page(title: str, intro: str, package: str, things: Mapping[str, object], pages: Mapping[str, str]) -> str:
    """Several things on one page: types with their fields and methods, and functions."""
    blocks = [f"# {title}", intro]
    for name, thing in things.items():
        blocks += [f"## {name}", *_parts(name, thing, pages, package)]
        listed = [f"- `{field}`" + (f": {prose(text, pages)}" if text else "") for field, text in fields_of(thing)]
        blocks += ["\n".join(listed)]
        for method in vars(thing) if listed else ():
            if not method.startswith("_") and inspect.ismethod(getattr(thing, method)):
                blocks += [f"### {name}.{method}", *_parts(f"{name}.{method}", getattr(thing, method), pages, package)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _parts(name: str, thing: object, pages: Mapping[str, str], package: str) -> list[str]:
    parts = doc_parts(thing)
    if not parts["summary"]:
        raise DocsError(f"{name}: it is public and has no docstring")
    blocks = [prose(parts["summary"], pages)]
    blocks += [fence("text", parts["formula"])] if parts["formula"] else []
    blocks += [prose(parts["text"], pages)]
    blocks += [items(parts[title], pages, {}) for title in ("Shapes", "Args", "Raises") if title in parts]
    blocks += [prose(f"{title}: {parts[title]}", pages) for title in ("Reference", "Differs") if title in parts]
    if "Example" in parts:
        blocks.append(example(parts["Example"], package, name.partition(".")[0], pages))
    return blocks


def fields_of(thing: object) -> list[tuple[str, str]]:
    """Fields of a class with the text that stands below each; Python itself does not keep it."""
    if not inspect.isclass(thing):
        return []
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(node, ast.ClassDef)
    found = []
    for field, after in zip(node.body, [*node.body[1:], ast.Pass()], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            found.append((field.target.id, " ".join(str(text).split())))
    return found


def signature(entry: Entry) -> str:
    """The call, an argument a line."""
    lines, keyword_only = [], False
    whole = inspect.signature(entry.value)
    for parameter in whole.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            lines.append("    *,")
            keyword_only = True
        lines.append(f"    {parameter},")
    returns = "" if inspect.isclass(entry.value) else f" -> {inspect.formatannotation(whole.return_annotation)}"
    text = "\n".join([f"{entry.name}(", *lines, f"){returns}"])
    return re.sub(r"\b(torch|collections\.abc|typing|torch\.nn\.modules\.module|matchloss\.\w+)\.(?=[A-Z])", "", text)


def items(text: str, pages: Mapping[str, str], defaults: Mapping[str, object]) -> str:
    """`name: text` lines as a list, with the default behind the name."""
    lines = []
    for name, content in ITEM.findall(text):
        default = defaults.get(name, inspect.Parameter.empty)
        shown = "" if default is inspect.Parameter.empty else f" = `{default!r}`"
        lines.append(f"- **`{name}`**{shown}: {prose(' '.join(content.split()), pages)}")
    if not lines:
        raise DocsError(f"expected 'name: text' lines, got {text!r}")
    return "\n".join(lines)


def example(text: str, package: str, name: str, pages: Mapping[str, str]) -> str:
    """Text and doctests in turn; the imports make the page run by itself."""
    own = f"from {package} import {name}"
    setup = [f">>> {line}" for line in ("import torch", own, *(line for line in imports_of(text) if line != own))]
    blocks = [fence("python", "\n".join(setup) + "\n")]
    for block in re.split(r"\n\n+", text):
        before, prompt, code = block.partition(">>> ")
        if before.strip():
            blocks.append(prose(before.strip(), pages))
        if prompt:
            blocks.append(fence("python", prompt + code + "\n"))
    return "\n\n".join(blocks)


def package_of(entry: Entry) -> str:
    """The subpackage that an entry is imported from."""
    return entry.value.__module__.split(".")[1]


def imports_of(text: str) -> list[str]:
    """Lines that import what else of matchloss an example uses."""
    words, lines = set(re.findall(r"\b\w+\b", text)), []
    for package in (*PACKAGES.values(), geometry, matchloss):
        for name, value in sorted(vars(package).items()):
            if name in words and not name.startswith("_") and not inspect.ismodule(value):
                lines.append(f"from {package.__name__} import {name}")
    return lines


def fence(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```"


def prose(text: str, pages: Mapping[str, str]) -> str:
    """Docstring text as Markdown: roles become links, and stars and underscores stay what they are."""
    done, out = 0, []
    for found in ROLE_OR_CODE.finditer(text):
        out.append(escape(text[done : found.start()]))
        role, *code = found.groups()
        if role:
            out.append(f"[`{role}`]({pages[role]})" if role in pages else f"`{role}`")
        else:
            out.append(f"`{code[0] or code[1]}`")
        done = found.end()
    return "".join([*out, escape(text[done:])])


def escape(text: str) -> str:
    return re.sub(r"([\\*_\[\]])", r"\\\1", text).replace("<", "&lt;").replace(">", "&gt;")

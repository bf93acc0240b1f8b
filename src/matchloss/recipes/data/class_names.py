"""Names of classes from the files that lie beside box annotations: data.yaml, names.json, classes.txt."""

import json
from pathlib import Path

from matchloss.recipes.data.annotations import shorten
from matchloss.recipes.data.errors import DataError

FILES = ("data.yaml", "names.json", "classes.txt")


def find_names(root: Path, more: list[Path]) -> dict[int, str] | None:
    """The names by class id, sorted by id, from the first such file of `root`, else from the first of `more`."""
    for path in [*(root / name for name in FILES), *more]:
        if path.is_file():
            return read_names(path)
    return None


def read_names(path: Path) -> dict[int, str]:
    """A list, or a table from id to name, in YAML (under `names`) or JSON; or text with a name a line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".txt":
            lines = text.rstrip().splitlines()
            return _check(dict(enumerate(line.strip() for line in lines)), path)
        found = _from_yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} cannot be read: {reason}") from error
    if isinstance(found, dict) and "names" in found:
        found = found["names"]
    if isinstance(found, list):
        found = dict(enumerate(found))
    if not isinstance(found, dict):
        raise DataError(f"{path} gives no names of classes; expected a list, or a table from id to name")
    return _check(found, path)


def _from_yaml(text: str) -> object:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _check(found: dict[object, object] | dict[int, str], path: Path) -> dict[int, str]:
    names = {}
    for key, name in found.items():
        # YAML reads `no` as False and `1` as a number; a number is a fair name of a digit, False is not.
        if isinstance(name, bool) or not isinstance(name, str | int) or not str(name).strip():
            raise DataError(f"{path}: the name of class {shorten(key)} is {shorten(name)}; expected text, in quotes")
        if isinstance(key, bool) or not str(key).isascii() or not str(key).isdigit() or len(str(key)) > 9:
            raise DataError(f"{path}: {shorten(key)} is no class id; expected a number from 0 on")
        names[int(str(key))] = str(name).strip()
    if not names or len(set(names.values())) < len(names):
        raise DataError(f"{path}: expected one or more names, each of them different")
    return dict(sorted(names.items()))

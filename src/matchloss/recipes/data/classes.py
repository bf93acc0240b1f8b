"""What the values or colours of a mask mean: `classes.json`, or a guess where only one reading is possible."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import GREY_OR_INDEX, WIDE_GREY, read_colors, read_header, read_values

Array = npt.NDArray[np.int64]
BINARY = ["background", "foreground"]
NARROW_GREY = frozenset({"1", "L", "LA"})
_EXAMPLES = {
    "indices": '{"format": "indices",\n "classes": ["background", "road", "water"],\n "ignore": [255]}',
    "colors": '{"format": "colors",\n "classes": {"building": "#3C1098", "road": "#6EC1E4"},\n "ignore": ["#000000"]}',
}


class UndeclaredMaskError(DataError):
    """Masks that nobody has declared and that allow several readings: the folder's fault, not one file's."""


@dataclass(frozen=True)
class ClassTable:
    """A sorted table from mask value (or colour 0xRRGGBB) to class code; the code `len(names)` means ignore."""

    kind: str  # "instances", "indices", "colors" as in classes.json, or "binary", which is only guessed
    names: list[str]
    keys: Array  # sorted
    codes: Array  # as long as keys
    declared: bool = True

    def decode(self, path: Path) -> npt.NDArray[np.uint8 | np.uint16]:
        """Read a mask file as class codes (H, W), in the smallest type that holds them."""
        colors = self.kind == "colors"
        if not self.declared:
            self._check_mode(path)
        values = read_colors(path) if colors else read_values(path)
        slots = np.searchsorted(self.keys, values)
        np.minimum(slots, len(self.keys) - 1, out=slots)
        codes = self.codes[slots]
        unknown = self.keys[slots] != values
        if self.kind == "instances":  # whatever has a number above 0 is an object
            codes[unknown] = 1
            unknown &= values < 0
        if unknown.any():
            raise self._unknown(path, values, unknown)
        return codes.astype(np.min_scalar_type(len(self.names)))

    def _check_mode(self, path: Path) -> None:
        mode = read_header(path).mode
        if mode not in (WIDE_GREY if self.kind == "instances" else NARROW_GREY):
            reason = f"has mode {mode}, unlike the first mask, which was read as {self.kind}"
            raise _undeclared(path, reason, "indices" if mode in GREY_OR_INDEX else "colors")

    def _unknown(self, path: Path, values: Array, unknown: npt.NDArray[np.bool_]) -> DataError:
        y, x = divmod(int(unknown.argmax()), unknown.shape[1])
        value = int(values[y, x])
        shown = f"colour #{value:06X}" if self.kind == "colors" else f"value {value}"
        others = len(np.unique(values[unknown])) - 1
        more = f" (and {others} more unknown)" if others else ""
        reason = f"holds {shown}, {int((values == value).sum())} pixels, the first at (x={x}, y={y}){more}"
        if not self.declared:
            return _undeclared(path, reason + ", beside those of a two-class mask", "indices")
        return DataError(f"{path} {reason}; classes.json gives it neither a class nor to ignore")


def guess_class_table(masks: Iterable[Path], *, skip_bad: bool) -> ClassTable:
    """Read masks without a declaration: wide greys are instances, 8-bit {0, 1} or {0, 255} are two classes.

    Which of 1 and 255 is the foreground is fixed by the first mask that holds either. It must not be taken file by
    file: next to masks of {0, 1}, a mask of {0, 255} most likely means "ignore" by its 255.
    """
    foreground = 0
    for path in masks:
        try:
            if read_header(path).mode in WIDE_GREY:
                return _table("instances", BINARY, [0], [0], declared=False)
            foreground = _read_foreground(path)
        except DataError as error:
            if not skip_bad or isinstance(error, UndeclaredMaskError):
                raise
        if foreground:
            break
    return _table("binary", BINARY, [0, foreground or 255], [0, 1], declared=False)


def _read_foreground(path: Path) -> int:
    """The largest value of an 8-bit mask of two classes."""
    mode = read_header(path).mode
    if mode not in NARROW_GREY:
        raise _undeclared(path, f"has mode {mode}", "indices" if mode in GREY_OR_INDEX else "colors")
    values = np.unique(read_values(path)).tolist()
    if not (set(values) <= {0, 1} or set(values) <= {0, 255}):
        listed = ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
        raise _undeclared(path, f"is 8-bit grey with the values {listed}", "indices")
    return int(values[-1])


def read_class_table(path: Path) -> ClassTable:
    """Parse a classes.json; unknown keys are errors, since a misspelt "ignore" would train on wrong labels."""
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_no_duplicates)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict) or not {"format"} <= data.keys() <= {"format", "classes", "ignore"}:
        raise DataError(f'{path}: expected an object with the keys "format", "classes" and, if wanted, "ignore"')
    kind, classes, ignore = data["format"], data.get("classes"), data.get("ignore", [])
    if kind not in ("instances", "indices", "colors"):
        raise DataError(f'{path}: "format" must be "instances", "indices" or "colors", got {kind!r}')
    if not isinstance(ignore, list):
        raise DataError(f'{path}: "ignore" must be a list, got {ignore!r}')
    if kind == "colors":
        return _color_table(path, classes, ignore)
    names = BINARY if classes is None and kind == "instances" else classes
    if not isinstance(names, list) or len(names) < 2 or len(set(map(str, names))) < len(names):
        raise DataError(f'{path}: "classes" must be a list of two or more different names, got {names!r}')
    if not all(isinstance(name, str) and name for name in names):
        raise DataError(f'{path}: "classes" must hold names, got {names!r}')
    if kind == "instances" and len(names) != 2:
        raise DataError(f'{path}: "instances" has two classes, background and foreground, got {len(names)}')
    taken = [0] if kind == "instances" else list(range(len(names)))
    if not all(type(value) is int and value >= 0 and value not in taken for value in ignore):
        raise DataError(f'{path}: "ignore" must list mask values that no class has, got {ignore!r}')
    return _table(kind, names, taken + ignore, taken + [len(names)] * len(ignore))


def _color_table(path: Path, classes: object, ignore: list[object]) -> ClassTable:
    if not isinstance(classes, dict) or len(classes) < 2 or "" in classes:
        raise DataError(f'{path}: with "colors", "classes" must give two or more names a colour, got {classes!r}')
    colors = [*classes.values(), *ignore]
    for color in colors:
        if not isinstance(color, str) or not re.fullmatch(r"#?[0-9A-Fa-f]{6}", color):
            raise DataError(f'{path}: a colour is written as "#RRGGBB", got {color!r}')
    keys = [int(str(color).removeprefix("#"), 16) for color in colors]
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise DataError(f"{path}: the colour #{key:06X} is given twice")
    return _table("colors", list(classes), keys, [min(index, len(classes)) for index in range(len(keys))])


def _table(kind: str, names: list[str], keys: list[int], codes: list[int], *, declared: bool = True) -> ClassTable:
    order = np.argsort(keys)
    return ClassTable(kind, list(names), np.array(keys, np.int64)[order], np.array(codes, np.int64)[order], declared)


def _undeclared(path: Path, reason: str, example: str) -> UndeclaredMaskError:
    return UndeclaredMaskError(
        f"{path} {reason}, and what that means is not declared: write a classes.json beside the lists, such as\n"
        + _EXAMPLES[example]
    )


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):  # json keeps the last of them, and says nothing
        raise ValueError("a key stands twice in one object")
    return dict(pairs)

"""Split lists (train.txt, val.txt, ...): one id a line, with or without a suffix; blank and # lines are skipped."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import SUFFIXES


class Entry(NamedTuple):
    """One line of a split list: its number and the text as written."""

    line: int
    text: str


def read_split(root: Path, split: str) -> dict[str, list[Entry]]:
    """The ids of `<root>/<split>.txt` in the list's order, each with the lines that name it (mostly one)."""
    path = _split_path(root, split)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    entries: dict[str, list[Entry]] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        same = entries.setdefault(_to_id(text, path, number), [])
        if any(entry.text == text for entry in same):
            raise DataError(f"{path} lists '{text}' twice, on lines {same[0].line} and {number}")
        same.append(Entry(number, text))
    if not entries:
        raise DataError(f"{path} lists no images; expected one id a line")
    return entries


def list_images(folder: Path) -> dict[str, list[Path]]:
    """The image files of a folder by id (the path below the folder, without its suffix)."""
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist or is not a folder")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return files


def find_one(files: dict[str, list[Path]], folder: Path, name: str, entries: list[Entry]) -> Path:
    """The one file of an id; none, several, or an id listed in several spellings is an error."""
    if len(entries) > 1:
        spelled = " and ".join(f"'{entry.text}' (line {entry.line})" for entry in entries)
        raise DataError(f"image '{name}' is listed twice, as {spelled}; a mask belongs to one image, so keep one")
    found = files.get(name, [])
    if not found:
        raise DataError(
            f"{folder / name} is missing: no image file of that name, but the list's line {entries[0].line} asks for it"
        )
    if len(found) > 1:
        raise DataError(f"{found[0]} and {found[1].name} both stand for '{name}'; keep one of them")
    return found[0]


def _split_path(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is not a folder")
    name = split.removesuffix(".txt")
    if not name or PureWindowsPath(name).name != name or name == "..":  # a Windows path knows both separators
        raise DataError(f"{root}: a split is named by a plain word such as 'train', got '{split}'")
    path = root / f"{name}.txt"
    if not path.is_file():
        there = ", ".join(sorted(other.stem for other in root.glob("*.txt"))) or "none"
        raise DataError(f"{path} does not exist; split lists in this folder: {there}")
    return path


def _to_id(text: str, path: Path, number: int) -> str:
    posix, windows = PurePosixPath(text), PureWindowsPath(text)
    if posix.is_absolute() or windows.anchor or ".." in windows.parts:
        raise DataError(f"{path}, line {number}: '{text}' points outside the folder; expected an id such as 'image_01'")
    # Only a known suffix is cut off: 'scan.v2' is an id.
    return str(posix.with_suffix("") if posix.suffix.lower() in SUFFIXES else posix)

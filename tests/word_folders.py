"""Small folders of photos with words, made for the tests of the readers."""

from pathlib import Path

import pytest

from box_folders import image, write
from matchloss.recipes.data import DataError, WordFolder

SAMPLE = Path(__file__).parents[1] / "samples" / "icdar2015"


def icdar(root: Path, files: dict[str, str | bytes], pattern: str = "gt/gt_{}.txt") -> Path:
    """Text files and photos of 60x40 by id, all of them in train.txt."""
    for name, content in files.items():
        write(root / pattern.format(name), content)
        image(root / "images" / f"{name}.png")
    write(root / "train.txt", "".join(f"{name}\n" for name in files))
    return root


def td500(root: Path, files: dict[str, str | bytes], split: str = "train") -> Path:
    """As the set is laid out: photos and text files of a split in one folder."""
    for name, content in files.items():
        write(root / split / f"{name}.gt", content)
        image(root / split / f"{name}.png")
    return root


def fails(root: Path, *parts: str, split: str = "train", **options: object) -> str:
    """Opening or reading the folder raises a one-line DataError that holds all the parts; its text."""
    with pytest.raises(DataError) as caught:  # noqa: PT012 either step may raise
        data = WordFolder(root, split, **options)
        [data[index] for index in range(len(data))]
    message = str(caught.value)
    for part in parts:
        assert part in message, f"{part!r} not in {message}"
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message

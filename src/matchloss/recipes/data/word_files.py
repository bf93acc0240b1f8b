"""Where a folder of photos with words keeps its photos, and the text file of each."""

from collections.abc import Iterator
from pathlib import Path

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.splits import Entry, find_one, list_images, read_split

ANNOTATION_FOLDERS = ("gt", "labels")


class WordFiles:
    """The photos of a split and where their annotations may lie.

    - Ids stand in `<split>.txt`, for photos in `images/` or, if there is no such folder, in the folder itself. Without
      that list a split is all photos of `images/<split>/` or of `<split>/`.
    - Annotations lie in `gt/` or `labels/`, there in `<split>/` if the split is a folder, or beside the photos.
    """

    def __init__(self, root: Path, split: str) -> None:
        images = root / "images"
        self._folders = [root / name for name in ANNOTATION_FOLDERS]
        part = next((folder for folder in (images / split, root / split) if folder.is_dir()), None)
        if part and not (root / f"{split.removesuffix('.txt')}.txt").is_file():
            self._image_folder = part
            self._folders = [folder / split for folder in self._folders] + self._folders
            self._images = list_images(part)
            self._entries: dict[str, list[Entry]] = {name: [] for name in self._images}
            if not self._entries:
                raise DataError(f"{part} holds no photos of the split '{split}'")
        else:
            # Some lists give paths from the folder on, as in "images/img_1.jpg".
            self._entries = {name.removeprefix("images/"): lines for name, lines in read_split(root, split).items()}
            self._image_folder = images if images.is_dir() else root
            self._images = list_images(self._image_folder)
        self._folders.append(self._image_folder)
        self.names = list(self._entries)

    def image(self, name: str) -> Path:
        """The photo of an id."""
        return find_one(self._images, self._image_folder, name, self._entries[name])

    def annotation(self, name: str, patterns: tuple[str, ...]) -> Path:
        """The text file of an id, under the first of the names, with {} for the last part of the id."""
        for path in self._places(name, patterns):
            if path.is_file():
                return path
        first = next(self._places(name, patterns))
        raise DataError(f"{first} is missing; a photo without words has an empty file")

    def any_annotation(self, patterns: tuple[str, ...]) -> bool:
        """Tell whether the folder holds text files of such names."""
        return any(path.is_file() for name in self.names for path in self._places(name, patterns))

    def _places(self, name: str, patterns: tuple[str, ...]) -> Iterator[Path]:
        there = [folder for folder in self._folders if folder.is_dir()] or self._folders
        for folder in there:
            path = folder / name
            for pattern in patterns:
                yield path.with_name(pattern.format(path.name))


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where a line stands, for messages, and its text; blank lines are skipped."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}") from error
    # Not splitlines(): a transcription may hold one of the rarer characters at which that splits.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()

"""A folder of photos with words, read for text detection; the format is found out."""

import warnings
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.icdar import ICDARReader
from matchloss.recipes.data.photo_cache import PhotoCache
from matchloss.recipes.data.td500 import TD500Reader
from matchloss.recipes.data.word_annotations import WordReader, WordRepairs, WordTruth, tidy_words
from matchloss.recipes.data.word_files import WordFiles

WordFormat = Literal["auto", "icdar", "td500"]
FORMATS = ("auto", "icdar", "td500")


class WordSample(NamedTuple):
    """One photo with its words."""

    image: Tensor  # uint8 (3, H, W), RGB
    quads: Tensor  # float32 (n, 4, 2), pixels, clockwise from the word's top left; may reach out of the photo
    ignore: Tensor  # bool (n,): unreadable words; neither text nor background
    texts: list[str]  # what the words say; "" where that is not told
    name: str


class _Photo(NamedTuple):
    path: Path
    size: tuple[int, int]  # (width, height)


class WordFolder(Dataset[WordSample]):
    """Photos with words in ICDAR's text files or in those of MSRA-TD500; each format's file here says what they hold.

    Building it reads all annotations and image headers; pixels are read when asked for, or at once with `skip_bad`.
    Quads that run counter-clockwise are turned, those that cross themselves or have no area are ignored, those outside
    their photo are dropped; `describe` counts them.

    Args:
        root: the folder.
        split: name of the part, such as "train".
        format: "auto" takes MSRA-TD500 if a photo of the split has a `.gt` file, else ICDAR.
        skip_bad: leave bad samples out, with one warning and their messages in `skipped`, instead of raising.
        cache_bytes: up to so many bytes of decoded photos stay in memory (each DataLoader worker has its own).

    Raises:
        DataError: for whatever is wrong with the folder, a list, or a file.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        format: WordFormat = "auto",  # noqa: A002 the name of the option on the command line
        skip_bad: bool = False,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.root, self.split = Path(root), split
        self.skipped: list[str] = []
        self._cache = PhotoCache(cache_bytes)
        self._photos: dict[str, _Photo] = {}
        self._truths: dict[str, WordTruth] = {}
        reader = open_word_reader(self.root, split, format)
        self.format = reader.kind
        self.repairs = self._read_all(reader, skip_bad)
        self.names = list(self._truths)
        if self.skipped:
            total = len(self.names) + len(self.skipped)
            message = f"{len(self.skipped)} of {total} samples left out of {self.root}, the first: {self.skipped[0]}"
            warnings.warn(message, stacklevel=2)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> WordSample:
        name = self.names[index]
        # All copies, so that a caller who writes into a sample does not change the stored one. The image keeps the
        # memory order of the file (channels last), in which resizing is several times faster.
        image = torch.from_numpy(self._cache.read(*self._photos[name]).copy()).permute(2, 0, 1)
        return WordSample(image, *self.truth(index), name)

    def truth(self, index: int) -> WordTruth:
        """Quads, ignore flags and texts of a sample, without reading its pixels."""
        quads, ignore, texts = self._truths[self.names[index]]
        return WordTruth(quads.clone(), ignore.clone(), list(texts))

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of a sample, without reading its pixels."""
        width, height = self._photos[self.names[index]].size
        return height, width

    def describe(self) -> str:
        """One line for the user: how many photos and words, what was ignored, repaired and dropped."""
        truths = list(self._truths.values())
        words = sum(len(truth.texts) for truth in truths)
        ignored = sum(int(truth.ignore.sum()) for truth in truths)
        parts = [
            _count(len(self), "image"),
            _count(words, "word") + (f" ({ignored} of them ignored)" if ignored else ""),
            f"read as {self.format}",
        ]
        notes = [
            (self.repairs.reversed, "turned clockwise"),
            (self.repairs.crossed, "ignored as self-crossing"),
            (self.repairs.flat, "ignored as without area"),
            (self.repairs.outside, "dropped as outside the image"),
        ]
        parts += [f"{_count(number, 'quad')} {note}" for number, note in notes if number]
        return ", ".join(parts) + (f", {len(self.skipped)} left out" if self.skipped else "")

    def _read_all(self, reader: WordReader, skip_bad: bool) -> WordRepairs:
        repairs = [WordRepairs()]
        for name in reader.names:
            try:
                annotation = reader.read(name)
                truth, repair = tidy_words(annotation)
                photo = _Photo(annotation.image, annotation.size)
                if skip_bad:  # read all pixels now, so that the count is right and training meets no bad file
                    self._cache.read(*photo)
            except DataError as error:  # noqa: PERF203
                if not skip_bad:
                    raise
                self.skipped.append(str(error))
            else:
                self._photos[name], self._truths[name] = photo, truth
                repairs.append(repair)
        if not self._truths:
            raise DataError(f"{self.root}: all samples of the split '{self.split}' are bad, first: {self.skipped[0]}")
        return WordRepairs(*map(sum, zip(*repairs, strict=True)))


def open_word_reader(root: Path, split: str, format: str) -> WordReader:  # noqa: A002
    """The reader of the format that was asked for, or that the folder shows."""
    if format not in FORMATS:
        raise DataError(f"format must be one of {', '.join(FORMATS)}, got '{format}'")
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is not a folder")
    if not split or PureWindowsPath(split).name != split or split == "..":  # a Windows path knows both separators
        raise DataError(f"{root}: a split is named by a plain word such as 'train', got '{split}'")
    files = WordFiles(root, split)
    if format == "td500" or (format == "auto" and files.any_annotation(TD500Reader.patterns)):
        return TD500Reader(files)
    if format == "icdar" or files.any_annotation(ICDARReader.patterns):
        return ICDARReader(files)
    places = "gt_<id>.txt or <id>.txt (ICDAR) or <id>.gt (MSRA-TD500), in gt/, in labels/ or beside the photos"
    raise DataError(f"{root} holds no words of the split '{split}' in a known format; looked for {places}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun if number == 1 else noun + 's'}"

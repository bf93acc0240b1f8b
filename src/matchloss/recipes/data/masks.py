"""A folder of images and masks with split lists, read for semantic segmentation."""

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from matchloss.recipes.data.classes import ClassTable, UndeclaredMaskError, guess_class_table, read_class_table
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import check_lossless, read_header, read_image
from matchloss.recipes.data.splits import find_one, list_images, read_split

IGNORE_INDEX = -100  # the losses' default `ignore_index`
Arrays: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8 | np.uint16]]  # RGB (H, W, 3), codes (H, W)


class Sample(NamedTuple):
    """One image with its label map."""

    image: Tensor  # uint8 (3, H, W), RGB
    labels: Tensor  # int64 (H, W), index of the class, -100 = ignore
    name: str


class Pair(NamedTuple):
    """The two files of one sample."""

    image: Path
    mask: Path


class SegmentationFolder(Dataset[Sample]):
    """Images in `images/`, masks in `labels/` or `masks/`, the ids of a split in `<split>.txt`.

    What mask values mean stands in `classes.json` in the folder, or in the file `classes`. Building the data set
    checks that the files are there and of one size; pixels are checked when first read, or at once with `skip_bad`.

    Args:
        root: the folder.
        split: name of the list, such as "train".
        classes: a classes.json to use instead of the folder's own.
        skip_bad: leave bad files out, with one warning and their messages in `skipped`, instead of raising.
        cache_bytes: up to so many bytes of decoded samples stay in memory (each DataLoader worker has its own).

    Raises:
        DataError: for whatever is wrong with the folder, a list, or a file.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        classes: Path | None = None,
        skip_bad: bool = False,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.root, self.split = Path(root), split
        self.skipped: list[str] = []
        self._free_bytes = cache_bytes
        self._cache: dict[str, Arrays] = {}
        self._pairs = self._find_pairs(skip_bad)
        self._table = self._read_table(Path(classes) if classes else None, skip_bad)
        self.classes = self._table.names
        if skip_bad:  # read all pixels now, so that the count is right and training meets no bad file
            self._pairs = self._sift(self._pairs, self._check_pixels, skip_bad)
        self.names = list(self._pairs)
        if self.skipped:
            total = len(self.names) + len(self.skipped)
            message = f"{len(self.skipped)} of {total} samples left out of {self.root}, the first: {self.skipped[0]}"
            warnings.warn(message, stacklevel=2)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        image, codes = self._load(name)
        # Both lines copy, so that a caller who writes into a sample does not change the cached one.
        labels = torch.from_numpy(codes.astype(np.int64))
        labels[labels == len(self.classes)] = IGNORE_INDEX
        return Sample(torch.from_numpy(image.transpose(2, 0, 1).copy()), labels, name)

    def describe(self) -> str:
        """One line for the user: how many images, which classes, how the masks were read."""
        images = "1 image" if len(self) == 1 else f"{len(self)} images"
        left_out = f", {len(self.skipped)} left out" if self.skipped else ""
        names = ", ".join(self.classes)
        return f"{images}, {len(self.classes)} classes ({names}), masks read as {self._table.kind}{left_out}"

    def _find_pairs(self, skip_bad: bool) -> dict[str, Pair]:
        entries = read_split(self.root, self.split)
        image_folder, mask_folder = self.root / "images", self._find_mask_folder()
        images, masks = list_images(image_folder), list_images(mask_folder)

        def find(name: str) -> Pair:
            pair = Pair(
                find_one(images, image_folder, name, entries[name]),
                find_one(masks, mask_folder, name, entries[name]),
            )
            _check_headers(pair)
            return pair

        return self._sift(entries, find, skip_bad)

    def _find_mask_folder(self) -> Path:
        folders = [self.root / "labels", self.root / "masks"]
        there = [folder for folder in folders if folder.is_dir()]
        if len(there) == 2:
            raise DataError(f"{folders[0]} and {folders[1]} are both there; keep the one that holds the masks")
        if not there:
            raise DataError(f"{self.root} has no folder labels/ or masks/; the masks must lie in one of them")
        return there[0]

    def _read_table(self, classes: Path | None, skip_bad: bool) -> ClassTable:
        path = classes or self.root / "classes.json"
        if classes or path.exists():
            return read_class_table(path)
        return guess_class_table((pair.mask for pair in self._pairs.values()), skip_bad=skip_bad)

    def _sift(self, names: Iterable[str], read: Callable[[str], Pair], skip_bad: bool) -> dict[str, Pair]:
        """Keep the names that `read` accepts; note the others in `skipped`, or raise."""
        good = {}
        for name in names:
            try:
                good[name] = read(name)
            except DataError as error:  # noqa: PERF203
                # Leaving out whatever does not fit a guess would train on the wrong reading of the rest.
                if not skip_bad or isinstance(error, UndeclaredMaskError):
                    raise
                self.skipped.append(str(error))
        if not good:
            raise DataError(f"{self.root}: all samples of the split '{self.split}' are bad, first: {self.skipped[0]}")
        return good

    def _check_pixels(self, name: str) -> Pair:
        self._load(name)
        return self._pairs[name]

    def _load(self, name: str) -> Arrays:
        if name in self._cache:
            return self._cache[name]
        image_path, mask_path = self._pairs[name]
        arrays = read_image(image_path), self._table.decode(mask_path)
        (height, width, _), mask_shape = arrays[0].shape, arrays[1].shape
        _check_sizes(self._pairs[name], (width, height), mask_shape[::-1])  # again: files change after the first check
        # Filled once and never evicted: an epoch visits each sample once, the worst case for least-recently-used.
        size = arrays[0].nbytes + arrays[1].nbytes
        if size <= self._free_bytes:
            self._cache[name] = arrays
            self._free_bytes -= size
        return arrays


def _check_headers(pair: Pair) -> None:
    image, mask = read_header(pair.image), read_header(pair.mask)
    check_lossless(pair.mask, mask)
    _check_sizes(pair, image.size, mask.size)


def _check_sizes(pair: Pair, image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if image != mask:
        sizes = f"{mask[0]}x{mask[1]} pixels, its image {pair.image} {image[0]}x{image[1]}"
        raise DataError(f"{pair.mask} has {sizes} (width x height, upright by EXIF); expected equal sizes")

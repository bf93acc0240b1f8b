"""A folder of images with boxes, read for object detection; the format is found out."""

import warnings
from pathlib import Path, PureWindowsPath
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from matchloss.recipes.data.annotations import Annotation, Reader, Repairs, Truth, list_names, tidy
from matchloss.recipes.data.coco import COCOReader, find_json, json_places
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.photo_cache import PhotoCache
from matchloss.recipes.data.voc import VOCReader
from matchloss.recipes.data.yolo import YOLOReader, label_folders

Format = Literal["auto", "voc", "coco", "yolo"]
FORMATS = ("auto", "voc", "coco", "yolo")


class BoxSample(NamedTuple):
    """One image with its objects."""

    image: Tensor  # uint8 (3, H, W), RGB
    boxes: Tensor  # float32 (m, 4), xyxy, pixels; inside the image, with an area
    labels: Tensor  # int64 (m,)
    ignore: Tensor  # bool (m,): crowds, difficult objects; neither an object nor background
    name: str


class BoxFolder(Dataset[BoxSample]):
    """Images with boxes as Pascal VOC, COCO JSON or YOLO txt; each format's file here says how it is laid out.

    Building it reads all annotations and image headers; pixels are read when asked for, or at once with `skip_bad`.
    Boxes of no size and boxes outside their image are dropped, those across its border cut; `describe` counts them.

    Args:
        root: the folder.
        split: name of the part, such as "train".
        format: "auto" takes a COCO JSON file of that split first (it alone knows crowds), then VOC, then YOLO.
        skip_bad: leave bad samples out, with one warning and their messages in `skipped`, instead of raising.
        classes: names in the order of their ids, instead of the folder's own. Give those of the training split when
            validating: two JSON files may disagree.
        cache_bytes: up to so many bytes of decoded images stay in memory (each DataLoader worker has its own).

    Raises:
        DataError: for whatever is wrong with the folder, a list, or a file.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        format: Format = "auto",  # noqa: A002 the name of the option on the command line
        skip_bad: bool = False,
        classes: list[str] | None = None,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.root, self.split = Path(root), split
        self.skipped: list[str] = []
        self._cache = PhotoCache(cache_bytes)
        self._images: dict[str, Annotation] = {}
        self._truths: dict[str, Truth] = {}
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise DataError(f"{self.root}: expected one or more different classes, got {classes}")
        reader = open_reader(self.root, split, format, classes)
        self.format, self.classes = reader.kind, reader.classes
        self.repairs = self._read_all(reader, skip_bad)
        self.names = list(self._truths)
        if self.skipped:
            total = len(self.names) + len(self.skipped)
            message = f"{len(self.skipped)} of {total} samples left out of {self.root}, the first: {self.skipped[0]}"
            warnings.warn(message, stacklevel=2)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> BoxSample:
        name = self.names[index]
        truth = self._truths[name]
        # All copies, so that a caller who writes into a sample does not change the stored one. The image keeps the
        # memory order of the file (channels last), in which resizing is several times faster.
        image = torch.from_numpy(self._load(name).copy()).permute(2, 0, 1)
        return BoxSample(image, truth.boxes.clone(), truth.labels.clone(), truth.ignore.clone(), name)

    def truth(self, index: int) -> Truth:
        """Boxes, labels and ignore flags of a sample, without reading its pixels."""
        return Truth(*(part.clone() for part in self._truths[self.names[index]]))

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of a sample, without reading its pixels."""
        width, height = self._images[self.names[index]].size
        return height, width

    def describe(self) -> str:
        """One line for the user: how many images and boxes, which classes, what was dropped."""
        truths = list(self._truths.values())
        boxes = sum(len(truth.labels) for truth in truths)
        ignored = sum(int(truth.ignore.sum()) for truth in truths)
        parts = [
            _count(len(self), "image"),
            f"{_count(len(self.classes), 'class')} ({list_names(self.classes)})",
            _count(boxes, "box") + (f" ({ignored} of them ignored)" if ignored else ""),
            f"read as {self.format}",
        ]
        notes = [
            (self.repairs.empty, "of no size dropped"),
            (self.repairs.outside, "outside the image dropped"),
            (self.repairs.clipped, "clipped to the image"),
        ]
        parts += [f"{_count(number, 'box')} {note}" for number, note in notes if number]
        return ", ".join(parts) + (f", {len(self.skipped)} left out" if self.skipped else "")

    def _read_all(self, reader: Reader, skip_bad: bool) -> Repairs:
        repairs = [Repairs()]
        for name in reader.names:
            try:
                annotation = reader.read(name)
                truth, repair = tidy(annotation)
                self._images[name] = annotation._replace(objects=[])  # `truth` has them
                if skip_bad:  # read all pixels now, so that the count is right and training meets no bad file
                    self._load(name)
            except DataError as error:  # noqa: PERF203
                if not skip_bad:
                    raise
                self.skipped.append(str(error))
            else:
                self._truths[name] = truth
                repairs.append(repair)
        if not self._truths:
            raise DataError(f"{self.root}: all samples of the split '{self.split}' are bad, first: {self.skipped[0]}")
        return Repairs(*map(sum, zip(*repairs, strict=True)))

    def _load(self, name: str) -> npt.NDArray[np.uint8]:
        annotation = self._images[name]
        return self._cache.read(annotation.image, annotation.size)


def open_reader(root: Path, split: str, format: str, classes: list[str] | None) -> Reader:  # noqa: A002
    """The reader of the format that was asked for, or that the folder shows."""
    if format not in FORMATS:
        raise DataError(f"format must be one of {', '.join(FORMATS)}, got '{format}'")
    if not root.is_dir():
        raise DataError(f"{root} does not exist or is not a folder")
    if not split or PureWindowsPath(split).name != split or split == "..":  # a Windows path knows both separators
        raise DataError(f"{root}: a split is named by a plain word such as 'train', got '{split}'")
    found = find_json(root, split) if format in ("auto", "coco") else None
    if found:
        return COCOReader(root, split, found, classes)
    if format == "voc" or (format == "auto" and _holds(root / "Annotations", ".xml")):
        return VOCReader(root, split, classes)
    if format == "yolo" or (format == "auto" and any(_holds(folder, ".txt") for folder in label_folders(root))):
        return YOLOReader(root, split, classes)
    places = f"a COCO JSON file ({', '.join(json_places(split))})"
    if format == "auto":
        places += ", Pascal VOC files (Annotations/*.xml) or YOLO files (labels*/ with .txt files, beside images/)"
    raise DataError(f"{root} holds no boxes of the split '{split}' in a known format; looked for {places}")


def _holds(folder: Path, suffix: str) -> bool:
    return folder.is_dir() and any(path.suffix == suffix for path in folder.rglob("*"))


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun in ("box", "class") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"

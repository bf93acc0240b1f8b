"""What every reader of boxes hands over, and the checks they share."""

import math
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import read_header

# By so many pixels a box may leave its image without being counted: normalised numbers are rounded.
ROUNDING = 0.5


class BoxObject(NamedTuple):
    """One object as its file has it: any finite numbers."""

    box: tuple[float, float, float, float]  # xyxy, pixels
    label: int
    ignore: bool = False


class Annotation(NamedTuple):
    """One image and its objects."""

    image: Path
    size: tuple[int, int]  # (width, height) as displayed
    objects: list[BoxObject]


class Reader(Protocol):
    """A folder in one format: which images a split has, and what one of them shows."""

    kind: str
    names: list[str]
    classes: list[str]

    def read(self, name: str) -> Annotation:
        """Raise a `DataError` for whatever is wrong with this one sample."""


class Truth(NamedTuple):
    """The objects of one image, ready for training: every box lies inside the image and has an area."""

    boxes: Tensor  # float32 (m, 4), xyxy, pixels
    labels: Tensor  # int64 (m,)
    ignore: Tensor  # bool (m,); such a box is neither an object nor background


class Repairs(NamedTuple):
    """How many boxes needed help."""

    empty: int = 0  # of no size, or upside down: dropped
    outside: int = 0  # wholly outside the image: dropped
    clipped: int = 0  # partly outside the image: cut at its border


def tidy(annotation: Annotation) -> tuple[Truth, Repairs]:
    """Clip boxes to the image and drop those that have no area there."""
    width, height = annotation.size
    raw = np.array([found.box for found in annotation.objects], np.float64).reshape(-1, 4)
    sized = (raw[:, 2] > raw[:, 0]) & (raw[:, 3] > raw[:, 1])
    boxes = raw.clip(0.0, [width, height, width, height])
    # In float32, as training sees it: a sliver that exists in float64 only is no box.
    boxes32 = boxes.astype(np.float32)
    keep = (boxes32[:, 2] > boxes32[:, 0]) & (boxes32[:, 3] > boxes32[:, 1])
    moved = np.abs(boxes - raw).max(axis=1, initial=0.0) > ROUNDING
    truth = Truth(
        torch.from_numpy(boxes32[keep]),
        torch.tensor([found.label for found in annotation.objects], dtype=torch.int64)[keep],
        torch.tensor([found.ignore for found in annotation.objects], dtype=torch.bool)[keep],
    )
    return truth, Repairs(int((~sized).sum()), int((sized & ~keep).sum()), int((keep & moved).sum()))


def to_number(value: object, where: str) -> float:
    """A finite number from text or JSON; `where` names file, entry and field."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):  # float(10 ** 400)
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} is {shorten(value)}; expected a finite number")
    return number


def to_label(name: str, classes: dict[str, int], where: str) -> int:
    """The id of a class name."""
    if name not in classes:
        raise DataError(f"{where} has the unknown class {shorten(name)}; known are {list_names(list(classes))}")
    return classes[name]


def image_size(image: Path, declared: tuple[float, float] | None, source: Path) -> tuple[int, int]:
    """(width, height) of an image as displayed; an annotation made for another size is an error.

    Boxes for an image that was scaled, or turned by its EXIF tag, would all lie in the wrong place.
    """
    size = read_header(image).size
    # Some tools write 0 x 0 when they do not know.
    if declared is not None and min(declared) > 0 and declared != size:
        shown = "x".join(f"{side:g}" for side in declared)
        raise DataError(f"{source} is made for {shown} pixels, but {image} has {size[0]}x{size[1]} (upright by EXIF)")
    return size


def inner_path(text: str, where: str) -> PurePosixPath:
    """A path below a folder as an annotation file names it; one that leads out of the folder is an error."""
    windows = PureWindowsPath(text)
    if not text or "\0" in text or text.startswith("/") or windows.anchor or ".." in windows.parts:
        raise DataError(f"{where} names the file {shorten(text)}; expected a path inside the folder")
    return PurePosixPath(windows.as_posix())


def shorten(value: object) -> str:
    """For messages: what was found, but not pages of it."""
    text = repr(value[:50] if isinstance(value, str) else value) if isinstance(value, str | int | float) else ""
    return text[:60] if text else f"of type {type(value).__name__}"


def list_names(names: list[str], most: int = 8) -> str:
    """The first few names."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")

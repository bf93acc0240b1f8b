"""What every reader of words hands over, and the repairs they share."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from matchloss.geometry import clockwise, crosses_itself, quad_area
from matchloss.recipes.data.annotations import to_number
from matchloss.recipes.data.errors import DataError

# No photo is as large; what lies beyond is a damaged number, and its square would leave float32.
FARTHEST = 1e6
FLAT = 1e-6  # of the square of its longest diagonal: what has less area than this is a line, or a point


class Word(NamedTuple):
    """One word as its file has it: any numbers within `FARTHEST`."""

    quad: tuple[float, ...]  # x1, y1, ... x4, y4, pixels; from the word's top left on
    text: str
    ignore: bool


class WordAnnotation(NamedTuple):
    """One photo and its words."""

    image: Path
    size: tuple[int, int]  # (width, height) as displayed
    words: list[Word]


class WordReader(Protocol):
    """A folder in one format: which photos a split has, and what one of them shows."""

    kind: str
    names: list[str]

    def read(self, name: str) -> WordAnnotation:
        """Raise a `DataError` for whatever is wrong with this one sample."""


class WordTruth(NamedTuple):
    """The words of one photo, ready for training."""

    quads: Tensor  # float32 (n, 4, 2), pixels, clockwise from the word's top left; may reach out of the photo
    ignore: Tensor  # bool (n,); such a word is neither text nor background
    texts: list[str]


class WordRepairs(NamedTuple):
    """How many quads needed help."""

    reversed: int = 0  # counter-clockwise: read the other way, from the same first corner
    crossed: int = 0  # crossing themselves: untangled and ignored
    flat: int = 0  # of no area: ignored
    outside: int = 0  # wholly outside the photo: dropped


def to_coordinates(fields: list[str], where: str) -> tuple[float, ...]:
    """Numbers of pixels from text; `where` names file and entry."""
    numbers = tuple(to_number(field.strip(), where) for field in fields)
    for number in numbers:
        if abs(number) > FARTHEST:
            raise DataError(f"{where} holds {number:g}; expected pixels")
    return numbers


def tidy_words(annotation: WordAnnotation) -> tuple[WordTruth, WordRepairs]:
    """Turn all quads clockwise, ignore those that enclose nothing one could learn, and drop those outside the photo.

    An annotator who crossed two corners, or clicked a point, still saw text there: it is ignored, not background.
    A quad that reaches out of the photo stays as it is. Cut at the border it would have other corners than its word.
    """
    words = annotation.words
    quads = torch.tensor([word.quad for word in words], dtype=torch.float64).reshape(-1, 4, 2)
    ignore = torch.tensor([word.ignore for word in words], dtype=torch.bool)
    area, crossed = quad_area(quads), crosses_itself(quads)
    longest = (quads[:, 2:] - quads[:, :2]).square().sum(-1).amax(-1)
    # A bow tie has no area either; the corners of a crossed quad are put in order before its area counts.
    untangled = _sort_corners(quads.numpy())
    quads = torch.where(crossed[:, None, None], torch.from_numpy(untangled), clockwise(quads))
    flat = ~crossed & (area.abs() <= FLAT * longest)
    size = torch.tensor(annotation.size)
    inside = ((quads.amax(1) > 0) & (quads.amin(1) < size)).all(-1)
    turned = ~crossed & ~flat & (area < 0)
    kept = inside.tolist()
    texts = [word.text for word, keep in zip(words, kept, strict=True) if keep]
    truth = WordTruth(quads.float()[inside], (ignore | crossed | flat)[inside], texts)
    repairs = WordRepairs(
        reversed=int((turned & inside).sum()),
        crossed=int((crossed & inside).sum()),
        flat=int((flat & inside).sum()),
        outside=len(words) - len(texts),
    )
    return truth, repairs


def _sort_corners(quads: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Corners clockwise round their mean, so that no edge crosses another; from the same first corner on."""
    arms = quads - quads.mean(1, keepdims=True)
    angle = np.arctan2(arms[..., 1], arms[..., 0])
    order = ((angle - angle[:, :1]) % (2 * np.pi)).argsort(1)
    return np.take_along_axis(quads, order[..., None], 1)

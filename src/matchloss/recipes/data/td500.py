"""MSRA-TD500: a text file beside each photo, a line of text a rotated box."""

from pathlib import Path

import torch
from torch import Tensor

from matchloss.geometry import rotated_corners
from matchloss.recipes.data.annotations import shorten
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import read_header
from matchloss.recipes.data.word_annotations import Word, WordAnnotation, to_coordinates
from matchloss.recipes.data.word_files import WordFiles, read_lines

FIELDS = "index difficulty x y width height angle"


class TD500Reader:
    """`<id>.gt` beside `<id>.JPG`, in `train/` and `test/`; `WordFiles` says where else the files may lie.

    A line is `index difficulty x y width height angle`. The box begins at (x, y) and is then turned about its centre by
    the angle, in radians, clockwise on the screen. It holds a whole line of text, and what that says is not told.
    What is marked difficult (1) is ignored.
    """

    kind = "MSRA-TD500"
    patterns = ("{}.gt",)

    def __init__(self, files: WordFiles) -> None:
        self._files = files
        self.names = files.names

    def read(self, name: str) -> WordAnnotation:
        """Pair a photo with its text file."""
        image = self._files.image(name)
        words = read_td500(self._files.annotation(name, self.patterns))
        return WordAnnotation(image, read_header(image).size, words)


def read_td500(path: Path) -> list[Word]:
    """The boxes of one file, as quads."""
    return [_parse(line, where) for where, line in read_lines(path)]


def write_td500(path: Path, boxes: Tensor, difficult: Tensor | None = None) -> None:
    """Write rotated boxes, to a hundredth of a pixel.

    Shapes:
        boxes: ``(n, 5)`` centre, width, height in pixels, angle in radians from +x towards +y.

    Args:
        difficult: ``(n,)`` bool, boxes that must not count; None means that all count.

    Raises:
        ValueError: for other shapes, for numbers that are not finite, and for negative sides.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f"write_td500: boxes must be (n, 5), got {tuple(boxes.shape)}")
    if not boxes.isfinite().all() or bool((boxes[:, 2:4] < 0).any()):
        raise ValueError("write_td500: boxes must be finite with sides of 0 or more, got others")
    if difficult is not None and difficult.shape != boxes.shape[:1]:
        raise ValueError(f"write_td500: difficult must be ({len(boxes)},), got {tuple(difficult.shape)}")
    flags = [0] * len(boxes) if difficult is None else difficult.int().tolist()
    lines = []
    for index, (flag, box) in enumerate(zip(flags, boxes.detach().double().tolist(), strict=True)):
        cx, cy, width, height, angle = box
        numbers = [f"{number:.2f}" for number in (cx - width / 2, cy - height / 2, width, height)]
        lines.append(" ".join([str(index), str(flag), *numbers, f"{angle:.6f}"]))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _parse(line: str, where: str) -> Word:
    fields = line.split()
    if len(fields) != 7:
        raise DataError(f"{where} is {shorten(line)} with {len(fields)} fields; expected {FIELDS}")
    _, difficulty, x, y, width, height, angle = to_coordinates(fields, where)
    if min(width, height) < 0:
        raise DataError(f"{where} has the size {width:g} x {height:g}; expected sides of 0 or more")
    box = torch.tensor([x + width / 2, y + height / 2, width, height, angle], dtype=torch.float64)
    return Word(tuple(rotated_corners(box).flatten().tolist()), "", difficulty != 0)

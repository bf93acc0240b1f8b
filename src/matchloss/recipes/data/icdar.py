"""The text files of the ICDAR robust reading competitions: a line a word, its corners and what it says."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from matchloss.geometry import clockwise
from matchloss.recipes.data.annotations import shorten
from matchloss.recipes.data.errors import DataError
from matchloss.recipes.data.pixels import read_header
from matchloss.recipes.data.word_annotations import Word, WordAnnotation, to_coordinates
from matchloss.recipes.data.word_files import WordFiles, read_lines

UNREADABLE = ("###", "*")
# The ninth field of the multi-lingual sets. A file has it on all lines, or on none.
SCRIPTS = frozenset(("Arabic", "Bangla", "Chinese", "Hindi", "Japanese", "Korean", "Latin", "Mixed", "None", "Symbols"))
# 2013: left, top, right, bottom and the word in quotes, by which it differs from all others.
RECTANGLE = re.compile(r'([^,\s"]+)[,\s]+([^,\s"]+)[,\s]+([^,\s"]+)[,\s]+([^,\s"]+)[,\s]+"(.*)"')


class ICDARReader:
    """`gt/gt_<id>.txt` or `gt/<id>.txt` for each photo; `WordFiles` says where else the files may lie.

    - 2015: `x1,y1,x2,y2,x3,y3,x4,y4,transcription`, clockwise from the word's top left. The transcription may hold
      commas, or be missing. Numbers may have fractions and spaces.
    - The multi-lingual sets (MLT) have the script before the transcription; it is not kept.
    - 2013: `left, top, right, bottom, "transcription"`, with or without commas.
    - The transcriptions `###` and `*` mark what cannot be read: ignored, it is neither text nor background.
    """

    kind = "ICDAR"
    patterns = ("gt_{}.txt", "{}.txt")

    def __init__(self, files: WordFiles) -> None:
        self._files = files
        self.names = files.names

    def read(self, name: str) -> WordAnnotation:
        """Pair a photo with its text file."""
        image = self._files.image(name)
        words = read_icdar(self._files.annotation(name, self.patterns))
        return WordAnnotation(image, read_header(image).size, words)


def read_icdar(path: Path) -> list[Word]:
    """The words of one file."""
    parsed = [_parse(line, where) for where, line in read_lines(path)]
    with_script = all(text.partition(",")[0].strip() in SCRIPTS and "," in text for _, text in parsed)
    words = []
    for quad, text in parsed:
        said = text.partition(",")[2].strip() if with_script else text
        words.append(Word(quad, said, said in UNREADABLE))
    return words


def write_icdar(path: Path, quads: Tensor, texts: Sequence[str] | None = None) -> None:
    """Write words as the competition's script wants them: clockwise, in whole pixels, one a line.

    Shapes:
        quads: ``(n, 4, 2)`` pixels.

    Args:
        texts: what the words say; None leaves the field out, as in submissions that only locate words.

    Raises:
        ValueError: for another shape, for coordinates that are not finite, and for texts that do not fit.
    """
    if quads.ndim != 3 or quads.shape[1:] != (4, 2):
        raise ValueError(f"write_icdar: quads must be (n, 4, 2), got {tuple(quads.shape)}")
    if not quads.isfinite().all():
        raise ValueError("write_icdar: quads must be finite, got NaN or infinite coordinates")
    if texts is not None and (len(texts) != len(quads) or any("\n" in text or "\r" in text for text in texts)):
        raise ValueError(f"write_icdar: texts must be {len(quads)} single lines, got {len(texts)} texts {texts!r:.80}")
    # Rounded first: the corners of a sliver may change sides.
    whole = clockwise(quads.detach().cpu().double().round()).to(torch.int64).flatten(1).tolist()
    lines = [",".join(map(str, row)) for row in whole]
    if texts is not None:
        lines = [f"{line},{text}" for line, text in zip(lines, texts, strict=True)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _parse(line: str, where: str) -> tuple[tuple[float, ...], str]:
    """Corners, and the rest of the line."""
    rectangle = RECTANGLE.fullmatch(line)
    if rectangle:
        *edges, text = rectangle.groups()
        left, top, right, bottom = to_coordinates(edges, where)
        return (left, top, right, top, right, bottom, left, bottom), text.strip()
    fields = line.split(",", 8)
    if len(fields) < 8:
        raise DataError(
            f"{where} is {shorten(line)} with {len(fields)} fields; expected x1,y1,x2,y2,x3,y3,x4,y4,transcription"
        )
    return to_coordinates(fields[:8], where), fields[8].strip() if len(fields) > 8 else ""

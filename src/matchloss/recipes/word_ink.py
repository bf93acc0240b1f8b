"""A line of words as ink, and ink onto a picture."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.float32]  # (3, H, W), 0..255
Opacity = npt.NDArray[np.float32]  # (h, w), 0..1

LUMA = np.array([0.299, 0.587, 0.114])
LEAST_INK = 64  # of 255; a paler pixel at a letter's rim does not count as its ink
FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-BoldOblique", "-Oblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-BoldItalic", "-Italic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "BolIta", "Italic")),
    *("cmb10", "cmr10", "cmss10", "cmtt10"),
)
"""Those of matplotlib that hold letters, digits and signs; the others are for formulas."""


class Line(NamedTuple):
    """Words side by side, before they are turned."""

    ink: npt.NDArray[np.uint8]  # (h, w)
    boxes: Floats  # (n, 4), the ink of each word: left, top, right, bottom


def draw_line(words: list[str], font: ImageFont.FreeTypeFont, *, space: float, stroke: int) -> Line:
    """Draw words on one base line, `space` pixels between them."""
    rise, fall = font.getmetrics()
    margin = stroke + 2 + rise // 4  # slanted letters reach out of their advance
    lengths = [font.getlength(word) for word in words]
    starts = np.rint(np.cumsum([0.0, *(length + space for length in lengths[:-1])])).astype(int)
    height = rise + fall + 2 * margin
    ink, boxes = np.zeros((height, int(starts[-1] + lengths[-1]) + 2 * margin), np.uint8), []
    for word, length, start in zip(words, lengths, starts, strict=True):
        alone = Image.new("L", (int(length) + 2 * margin, height))
        ImageDraw.Draw(alone).text((margin, margin + rise), word, 255, font, anchor="ls", stroke_width=stroke)
        pixels = np.asarray(alone)
        if not pixels.any():
            raise ValueError(f"draw_line: font must have letters for the words, got {font.getname()} and {word!r}")
        least = min(LEAST_INK, int(pixels.max()))
        columns, rows = (np.flatnonzero(pixels.max(axis) >= least) for axis in (0, 1))
        boxes.append([start + columns[0], rows[0], start + columns[-1] + 1, rows[-1] + 1])
        place = ink[:, start : start + pixels.shape[1]]
        np.maximum(place, pixels, out=place)
    found = np.array(boxes, np.float64)
    left, top = found[:, :2].min(0).astype(int)
    right, bottom = found[:, 2:].max(0).astype(int)
    return Line(ink[top:bottom, left:right], found - [left, top, left, top])


def homography(source: Floats, target: Floats) -> Floats:
    """The (3, 3) matrix, lower right 1, of the perspective that takes four points (4, 2) to four others."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    solved = np.linalg.solve(np.array(rows), target.reshape(-1))
    return np.append(solved, 1.0).reshape(3, 3)


def carry(matrix: Floats, points: Floats) -> Floats:
    """Points (..., 2) through a perspective."""
    mapped = np.concatenate([points, np.ones_like(points[..., :1])], -1) @ matrix.T
    flat: Floats = mapped[..., :2] / mapped[..., 2:]
    return flat


def corners(boxes: Floats) -> Floats:
    """Boxes (..., 4) as quads (..., 4, 2), clockwise from the top left."""
    return boxes[..., [0, 1, 2, 1, 2, 3, 0, 3]].reshape(*boxes.shape[:-1], 4, 2)


def warp_ink(ink: npt.NDArray[np.uint8], outline: Floats, frame: npt.NDArray[np.int64], blur: float) -> Opacity:
    """Ink (h, w) whose corners come to lie at `outline`, as opacity in a frame (left, top, right, bottom)."""
    height, width = ink.shape
    left, top, right, bottom = frame.tolist()
    source = corners(np.array([0.0, 0.0, width, height]))
    back = homography(outline - [left, top], source).reshape(-1)[:8].tolist()
    size = (right - left, bottom - top)
    warped = Image.fromarray(ink).transform(size, Image.Transform.PERSPECTIVE, back, Image.Resampling.BILINEAR)
    if blur > 0:
        warped = warped.filter(ImageFilter.GaussianBlur(blur))
    opacity: Opacity = np.asarray(warped, np.float32) / np.float32(255)
    return opacity


def fill_outline(outline: Floats, frame: npt.NDArray[np.int64]) -> Opacity:
    """The inside of a quad as opacity in a frame."""
    left, top, right, bottom = frame.tolist()
    filled = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(filled).polygon([(x - left, y - top) for x, y in outline.tolist()], fill=255)
    opacity: Opacity = np.asarray(filled, np.float32) / np.float32(255)
    return opacity


def paint(picture: Picture, frame: npt.NDArray[np.int64], opacity: Opacity, color: Floats) -> None:
    """Lay a colour over a frame of the picture, in place."""
    left, top, right, bottom = frame.tolist()
    part = picture[:, top:bottom, left:right]
    part += opacity * (color.astype(np.float32)[:, None, None] - part)


def set_apart(color: Floats, background: float, least: float) -> Floats:
    """Brighten or darken an RGB colour until its grey differs from the background's by `least` (at most 127)."""
    grey, end = float(color @ LUMA), 255.0 if background < 127.5 else 0.0
    if abs(grey - background) >= least:
        return color
    wanted = background + (least if end else -least)
    mixed: Floats = color + (end - color) * (wanted - grey) / (end - grey)
    return mixed


@lru_cache(maxsize=1)
def plain_fonts() -> tuple[Path, ...]:
    """The text fonts that matplotlib brings along."""
    from matplotlib import get_data_path  # slow to import

    folder = Path(get_data_path()) / "fonts" / "ttf"
    return tuple(folder / f"{name}.ttf" for name in FONTS)


@lru_cache(maxsize=512)
def open_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font at a size in pixels."""
    # Not the other layout engine: not every Pillow has it, and it may place letters elsewhere.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)

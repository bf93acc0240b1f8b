"""Words drawn on photos, to warm a detector up where annotated photos are few."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from matchloss.recipes.crop_words import place_window
from matchloss.recipes.data import WordSample
from matchloss.recipes.synthetic_strings import draw_string
from matchloss.recipes.word_ink import (
    LUMA,
    Floats,
    Picture,
    carry,
    corners,
    draw_line,
    fill_outline,
    homography,
    open_font,
    paint,
    plain_fonts,
    set_apart,
    warp_ink,
)

MARGIN = 3.0  # pixels that stay free round a line
PLACES = 24  # tried for a line, all at once
PLATES = 0.5  # chance that a line lies on a plate of one colour
CONTRAST = 60.0, 120.0  # grey levels between a word and what it is drawn on, drawn from this range


class _Block(NamedTuple):
    """A line of words, bent into its final shape, still to be placed."""

    ink: npt.NDArray[np.uint8]
    outline: Floats  # (4, 2), the ink's corners round (0, 0)
    quads: Floats  # (n, 4, 2), the words'
    texts: list[str]


def paint_words(
    sample: WordSample,
    rng: np.random.Generator,
    *,
    size: tuple[int, int],
    lines: tuple[int, int] = (3, 8),
    heights: tuple[float, float] = (12.0, 64.0),
    fonts: Sequence[Path] | None = None,
) -> WordSample:
    """A patch of a photo without its words, and other words drawn on it, whose quads are exact.

    A pure function of the sample and the generator's state. Lines of one to three words of one font and colour lie
    apart from each other, turned, a little in perspective, blurred, some on a plate; noise is over all. The quad of a
    word is the tight box of its ink, bent as the line is.

    Args:
        sample: a photo; all its words, ignored ones too, stay off the patch.
        rng: the only source of randomness.
        size: (height, width) of what is made.
        lines: least and largest number of lines that are tried; what finds no place is left out.
        heights: range of the font's size in pixels, drawn log-uniformly.
        fonts: files of fonts; None for those of matplotlib.
    """
    files = plain_fonts() if fonts is None else tuple(fonts)
    picture = _background(sample, rng, size)
    taken = np.zeros((0, 4))
    quads, texts = [np.zeros((0, 4, 2))], []
    for _ in range(int(rng.integers(lines[0], lines[1] + 1))):
        block = _block(rng, files, heights)
        shift = _place(block.outline, taken, size, rng)
        if shift is None:
            continue
        outline = block.outline + shift
        taken = np.append(taken, [[*outline.min(0), *outline.max(0)]], 0)
        _draw(picture, block.ink, outline, rng)
        quads.append(block.quads + shift)
        texts += block.texts
    picture += rng.uniform(0, 6) * rng.standard_normal(size, dtype=np.float32)
    image = torch.from_numpy(picture).round_().clamp_(0, 255).to(torch.uint8)
    found = torch.from_numpy(np.concatenate(quads).astype(np.float32))
    return WordSample(image, found, torch.zeros(len(found), dtype=torch.bool), texts, f"{sample.name}, synthetic")


def _background(sample: WordSample, rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """A patch without words, enlarged if there is no room for more; a plain one where words are everywhere."""
    (height, width), window = sample.image.shape[1:], np.array(size[::-1], np.float64)
    quads = sample.quads.double().numpy()
    bounds = np.concatenate([quads.min(1), quads.max(1)], 1)
    largest = min(height / size[0], width / size[1])
    share, mirror, numbers = rng.uniform(0.4, 1.0), bool(rng.random() < 0.5), rng.random((3, 3))
    plain = rng.uniform(30, 225, 3).astype(np.float32)
    for row in numbers:
        sides = window * largest * share
        room = np.zeros(2), np.array([width, height]) - sides
        corner, free = place_window(bounds, (sides[0], sides[1]), room, row, words=False)
        if free:
            return _enlarge(sample.image, corner, corner + sides, size, mirror=mirror)
        share /= 2
    picture: Picture = np.broadcast_to(plain[:, None, None], (3, *size)).copy()
    return picture


def _enlarge(image: Tensor, first: Floats, last: Floats, size: tuple[int, int], *, mirror: bool) -> Picture:
    """The whole pixels between two corners, so that no edge of a word comes along, brought to a size."""
    x, y = np.minimum(np.ceil(first).astype(int), np.array([image.shape[2], image.shape[1]]) - 1)
    right, bottom = np.maximum(np.floor(last).astype(int), [x + 1, y + 1])
    patch = image[:, y:bottom, x:right][None].contiguous(memory_format=torch.channels_last)
    patch = F.interpolate(patch, size, mode="bilinear", antialias=True)[0]
    picture: Picture = (patch.flip(2) if mirror else patch).contiguous().float().numpy()
    return picture


def _block(rng: np.random.Generator, fonts: Sequence[Path], heights: tuple[float, float]) -> _Block:
    """Draw a line and bend it."""
    texts = [draw_string(rng) for _ in range(int(rng.integers(1, 4)))]
    height = round(math.exp(rng.uniform(math.log(heights[0]), math.log(heights[1]))))
    font = open_font(fonts[int(rng.integers(len(fonts)))], height)
    stroke = int(rng.random() < 0.25 and height >= 24)
    line = draw_line(texts, font, space=height * rng.uniform(0.25, 0.5), stroke=stroke)
    rows, columns = line.ink.shape
    half_width, half_height = columns * rng.uniform(0.8, 1.25) / 2, rows / 2
    # Mostly nearly level, as most signs are.
    angle = math.radians(rng.normal(0, 5) if rng.random() < 0.8 else rng.uniform(-40, 40))
    across = np.array([math.cos(angle), math.sin(angle)]) * half_width
    lean = angle + math.pi / 2 + math.radians(rng.normal(0, 4))
    down = np.array([math.cos(lean), math.sin(lean)]) * half_height
    outline = np.array([-across - down, across - down, across + down, down - across])
    outline += rng.uniform(-0.08, 0.08, (4, 2)) * rows
    matrix = homography(corners(np.array([0.0, 0.0, columns, rows])), outline)
    return _Block(line.ink, outline, carry(matrix, corners(line.boxes)), texts)


def _place(outline: Floats, taken: Floats, size: tuple[int, int], rng: np.random.Generator) -> Floats | None:
    """Where to shift an outline, so that it lies in the picture and apart from the boxes that are taken."""
    low, high = MARGIN - outline.min(0), np.array(size[::-1]) - MARGIN - outline.max(0)
    numbers = rng.random((PLACES, 2))
    if (low > high).any():
        return None
    shifts = low + numbers * (high - low)
    first, last = shifts + outline.min(0) - MARGIN, shifts + outline.max(0) + MARGIN
    apart = (last[:, None] < taken[:, :2]) | (first[:, None] > taken[:, 2:])
    free = apart.any(-1).all(-1)
    return shifts[free.argmax()] if free.any() else None


def _draw(picture: Picture, ink: npt.NDArray[np.uint8], outline: Floats, rng: np.random.Generator) -> None:
    """Lay the ink on the picture, on a plate or on what is there."""
    plate, blur, strength, spread = rng.random(4)
    colors, vivid, height = rng.uniform(0, 255, (2, 3)), rng.random((2, 1)) ** 2, math.dist(outline[0], outline[3])
    colors = colors * vivid + (colors @ LUMA)[:, None] * (1 - vivid)  # most signs are nearly grey
    center = outline.mean(0)
    rows, columns = picture.shape[1:]
    rim = outline + (outline - center) / np.linalg.norm(outline - center, axis=1, keepdims=True) * height * spread / 2
    reach = rim if plate < PLATES else outline
    ends = np.concatenate([np.floor(reach.min(0)) - MARGIN, np.ceil(reach.max(0)) + MARGIN])
    frame = ends.clip(0, [columns, rows] * 2).astype(int)
    if plate < PLATES:
        paint(picture, frame, fill_outline(rim, frame), colors[1])
    opacity = warp_ink(ink, outline, frame, blur=1.2 * float(blur) * min(1.0, height / 32))
    left, top, right, bottom = frame.tolist()
    inside = fill_outline(outline, frame)
    behind = np.tensordot(picture[:, top:bottom, left:right], inside, 2) / max(1.0, inside.sum())
    color = set_apart(colors[0], float(behind @ LUMA), rng.uniform(*CONTRAST))
    paint(picture, frame, opacity * (0.8 + 0.2 * float(strength)), color)

"""What pictures of matchings share: an enlarged image, a colour for each object, labels that can be read."""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

LONG_SIDE = 1280
"""Pixels of the picture: points of the finest level are then some thirty apart."""
NAMED = 20
"""Objects whose class is written beside their number; of more, names would cover each other and the points."""
GREY, WHITE, BLACK = (160, 160, 160), (255, 255, 255), (0, 0, 0)
Color = tuple[int, int, int]


def enlarge(image: Tensor) -> tuple[Image.Image, float]:
    """The image, uint8 (3, H, W), in the size of the picture, and by how much it grew."""
    zoom = LONG_SIDE / max(image.shape[1:])
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    return picture.resize((round(image.shape[2] * zoom), round(image.shape[1] * zoom)), Image.Resampling.BICUBIC), zoom


def cross_out(pen: ImageDraw.ImageDraw, box: list[float], color: Color) -> None:
    """Both diagonals of a box."""
    pen.line((*box[:2], *box[2:]), fill=color, width=2)
    pen.line((box[0], box[3], box[2], box[1]), fill=color, width=2)


def object_colors(count: int) -> list[Color]:
    """Hues a golden angle apart, so that neighbours in the list differ."""
    hues = [(number * 0.618034) % 1 for number in range(count)]
    return [_rgb(hue, 1.0 if number % 2 else 0.75) for number, hue in enumerate(hues)]


def _rgb(hue: float, value: float) -> Color:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.9, value))
    return red, green, blue


def label(
    pen: ImageDraw.ImageDraw, corner: list[float], text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    """Write in white on a black plate, inside a corner."""
    x, y = corner[0] + 3, corner[1] + 2
    left, top, right, bottom = pen.textbbox((x, y), text, font=font)
    pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=BLACK)
    pen.text((x, y), text, fill=WHITE, font=font)

"""Boxes, drawn over the image in the colours of their classes."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from matchloss.recipes.pictures import class_color

SMALLEST_SIDE = 640
"""Pixels: smaller pictures are enlarged before drawing, or the names would hide the objects."""


def draw_boxes(
    image: Tensor,
    boxes: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    scores: Tensor | None = None,
    ignore: Tensor | None = None,
) -> Tensor:
    """Frame each object, xyxy in pixels of the image, uint8 (3, H, W), and name it.

    The smallest come last, so that no large one covers them. Regions to ignore are framed thinly in grey.
    """
    zoom = max(1, -(-SMALLEST_SIDE // max(image.shape[-2:])))
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    unit = max(picture.size) / SMALLEST_SIDE
    font = ImageFont.load_default(size=round(13 * unit))
    ignored = [False] * len(boxes) if ignore is None else ignore.tolist()
    sides = boxes[:, 2:] - boxes[:, :2]
    for index in (sides[:, 0] * sides[:, 1]).argsort(descending=True, stable=True).tolist():
        name = classes[int(labels[index])]
        text = name if scores is None else f"{name} {float(scores[index]):.2f}"
        x1, y1, x2, y2 = (boxes[index] * zoom).tolist()
        if ignored[index]:
            _frame(pen, (x1, y1, x2, y2), (150, 150, 150), max(1, round(unit)))
        else:
            color = class_color(int(labels[index]))
            _frame(pen, (x1, y1, x2, y2), color, max(2, round(2 * unit)))
            _name(pen, text, (x1, y1), color, font)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _frame(
    pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], color: tuple[int, int, int], width: int
) -> None:
    x1, y1, x2, y2 = box  # Pillow refuses a box that is turned inside out
    pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=width)


def _name(
    pen: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write the name above the corner, or below it at the upper edge, on a plate of the class's colour."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(0.0, corner[0]), max(0.0, pen.im.size[0] - width))
    y = corner[1] - height if corner[1] >= height else max(0.0, corner[1])
    pen.rectangle((x, y, x + width, y + height), fill=color)
    dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 120
    pen.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if dark else (255, 255, 255), font=font)

"""Words, framed in their photo."""

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

FOUND, TRUE, IGNORED = (0, 158, 115), (230, 159, 0), (150, 150, 150)
"""Okabe and Ito's green and orange; grey for what does not count."""
LINE_SHARE = 400
"""A line is this small a part of the photo's long side, two pixels at least."""


def draw_words(image: Tensor, quads: Tensor, *, ignore: Tensor | None = None, color: tuple[int, int, int]) -> Tensor:
    """Frame each word, (n, 4, 2) in pixels of the photo, uint8 (3, H, W); words to ignore thinly in grey."""
    picture = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / LINE_SHARE))
    ignored = [False] * len(quads) if ignore is None else ignore.tolist()
    for quad, left_out in zip(quads.tolist(), ignored, strict=True):
        corners = [(x, y) for x, y in quad]
        shade, width = (IGNORED, 1) if left_out else (color, line)
        pen.line([*corners, corners[0]], fill=shade, width=width, joint="curve")
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def draw_score(image: Tensor, probability: Tensor) -> Tensor:
    """Tint a pale photo by how sure the model is of text, (h, w) in [0, 1], of the photo's proportions."""
    height, width = image.shape[-2:]
    large = torch.nn.functional.interpolate(probability[None, None], (height, width), mode="bilinear")[0]
    pale = 128 + 0.4 * (image.float().mean(0, keepdim=True).expand(3, -1, -1) - 128)
    tint = torch.tensor(FOUND, dtype=torch.float32)[:, None, None]
    return (pale + large * (tint - pale)).round().to(torch.uint8)

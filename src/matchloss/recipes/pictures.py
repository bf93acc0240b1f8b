"""Label maps and mistakes, drawn over the image."""

import colorsys

import torch
import torch.nn.functional as F
from torch import Tensor

# Okabe and Ito's colours, which people with colour blindness can tell apart; green first, for stained tissue has none.
COLORS = ("#009E73", "#E69F00", "#56B4E9", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
MISSED, FALSE_ALARM, CONFUSED = "#56B4E9", "#E69F00", "#CC79A7"


def palette(classes: list[str]) -> list[tuple[int, int, int] | None]:
    """Give each class a colour; a background has none."""
    first = 1 if classes[0].lower() == "background" else 0
    return [None if index < first else class_color(index - first) for index in range(len(classes))]


def overlay(image: Tensor, labels: Tensor, classes: list[str]) -> Tensor:
    """Tint each class of an image, uint8 (3, H, W), and line its edge."""
    drawn = image.float()
    for index, color in enumerate(palette(classes)):
        if color is not None:
            drawn = _paint(drawn, labels == index, color)
    return drawn.round().to(torch.uint8)


def mistakes(image: Tensor, truth: Tensor, prediction: Tensor, classes: list[str]) -> Tensor:
    """Paint what is wrong over a pale grey image: missed, false alarm, wrong class; ignored pixels have no mistakes."""
    background = 0 if classes[0].lower() == "background" else -1
    wrong = (truth != prediction) & (truth >= 0)
    missed, false_alarm = wrong & (prediction == background), wrong & (truth == background)
    drawn = 128 + 0.4 * (image.float().mean(0, keepdim=True).expand(3, -1, -1) - 128)
    for mask, color in (
        (missed, MISSED),
        (false_alarm, FALSE_ALARM),
        (wrong & ~missed & ~false_alarm, CONFUSED),
    ):
        drawn = torch.where(mask, _rgb(color).float()[:, None, None], drawn)
    return drawn.round().to(torch.uint8)


def _paint(image: Tensor, mask: Tensor, color: tuple[int, int, int]) -> Tensor:
    inside = -F.max_pool2d(-mask.float()[None], 3, stride=1, padding=1)[0] > 0
    opacity = torch.where(inside, 0.35, 1.0) * mask
    return image + opacity * (torch.tensor(color)[:, None, None] - image)


def class_color(index: int) -> tuple[int, int, int]:
    """Give a colour for each number: the list first, then hues a golden angle apart, which are never alike."""
    if index < len(COLORS):
        red, green, blue = _rgb(COLORS[index]).tolist()
    else:
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(index * 0.618 % 1, 0.65, 0.9))
    return red, green, blue


def _rgb(color: str) -> Tensor:
    return torch.tensor(list(bytes.fromhex(color[1:])))

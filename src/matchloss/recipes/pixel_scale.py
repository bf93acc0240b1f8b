"""The scale of pixels that a published model was trained on."""

from typing import NamedTuple

import torch
from torch import Tensor


class PixelScale(NamedTuple):
    """Each channel is (value / 255 - mean) / deviation; the recipes' own models see standardised images instead."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def convert(self, image: Tensor, mean: float, deviation: float) -> Tensor:
        """From an image (3, H, W) that was standardised by a mean and a deviation, in grey levels."""
        own_mean, own_deviation = (torch.tensor(part)[:, None, None] for part in self)
        return ((image * deviation + mean) / 255 - own_mean) / own_deviation


IMAGENET = PixelScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = PixelScale((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

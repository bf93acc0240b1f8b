"""Words of scene text: quads of an image, few large ones to many small ones."""

import math

import torch
from torch import Tensor

from .setting import Setting


def words(setting: Setting, count: int, heights: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """``(count, 4, 2)`` two to six times as long as high, up to 30 degrees to either side, a little shaken."""
    height = heights[0] + (heights[1] - heights[0]) * setting.rand(count, 1)
    width, angle = height * (2 + 4 * setting.rand(count, 1)), (setting.rand(count, 1) - 0.5) * math.pi / 3
    x, y = torch.tensor([-0.5, 0.5, 0.5, -0.5]) * width, torch.tensor([-0.5, -0.5, 0.5, 0.5]) * height
    turned = torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)
    return turned + setting.rand(count, 1, 2) * torch.tensor([size[1], size[0]]) + 2 * (setting.rand(count, 4, 2) - 0.5)


def candidates(setting: Setting, count: int) -> tuple[Tensor, Tensor]:
    """54 quads and scores a word, in runs, as a scan of words one after the other meets them."""
    word = torch.tensor([[0.0, 0.0], [60.0, 0.0], [60.0, 16.0], [0.0, 16.0]])
    corner = torch.stack([90.0 * (torch.arange(count) % 8), 30.0 * (torch.arange(count) // 8)], -1)
    quads = (word + corner[:, None]).repeat_interleave(54, 0)
    quads = quads + 1.5 * setting.randn(*quads.shape)
    return quads, 0.8 + 0.2 * setting.rand(len(quads))

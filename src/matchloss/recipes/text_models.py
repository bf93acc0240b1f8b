"""EAST's network: a backbone from a library, the U-shaped merge of its four stages, and a head at stride 4.

Images (N, 3, H, W) in; out comes {"score": (N, 1, h, w) logits, "geometry": (N, 5 or 8, h, w)}, what `EASTCriterion`
and `decode_east` take, or, with the head of differentiable binarisation, {"score": logits, "threshold": logits}.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matchloss.recipes.backbones import SCRATCH, FrozenNorms, build_backbone, group_norm, level_channels

STRIDES = (4, 8, 16, 32)
STRIDE = STRIDES[0]
"""Pixels of a cell of the output."""
MERGED = (128, 64, 32)
"""Channels of the merge after the stages of the strides 16, 8 and 4, as published."""
WIDTH = 32
REACH = 512.0
"""Pixels to which a distance can grow, the side of the paper's crops."""
FIRST_DISTANCE = 16.0
"""Pixels: what an untrained head says; half the reach would make every word a billboard, and the IoU's pull tiny."""
PRIOR = 0.05
"""How sure of text the untrained head is, about its share of the pixels."""

HEADS = ("rbox", "quad", "db")


def build_text_network(name: str, *, head: str, folder: Path, pretrained: bool = True) -> nn.Module:
    """Build a text detector.

    Args:
        name: "resnet" (small, random weights), or a backbone's name on Hugging Face, or a local folder.
        head: one of HEADS: four distances and an angle, four corners, or a score and a threshold.
        folder: where the architecture of a Hugging Face backbone is kept.
        pretrained: False where the weights come from a checkpoint.
    """
    backbone = build_backbone(name, strides=STRIDES, folder=folder, pretrained=pretrained)
    heads = {"rbox": BoxHead, "quad": QuadHead, "db": DBHead}
    return TextNetwork(backbone, head=heads[head](), frozen_norms=name != SCRATCH)


class TextNetwork(FrozenNorms):
    """Backbone, merge and head."""

    def __init__(self, backbone: nn.Module, *, head: nn.Module, frozen_norms: bool) -> None:
        super().__init__(frozen_norms=frozen_norms)
        self.backbone = backbone
        self.merge = Merge(level_channels(backbone, STRIDES))
        self.head = head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Predict at every cell."""
        features: list[Tensor] = list(self.backbone(images).feature_maps)
        outputs: dict[str, Tensor] = self.head(self.merge(features))
        return outputs


class Merge(nn.Module):
    """From the coarsest stage on: enlarge, put beside the next stage, mix (EAST, equations 1 and 2)."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        *finer, carried = channels
        self.mixers = nn.ModuleList()
        for beside, width in zip(reversed(finer), MERGED, strict=True):
            self.mixers.append(nn.Sequential(*_convolution(carried + beside, width, 1), *_convolution(width, width, 3)))
            carried = width
        self.last = nn.Sequential(*_convolution(carried, WIDTH, 3))

    def forward(self, features: list[Tensor]) -> Tensor:
        """From features, finest first, to one map of the finest stride."""
        *finer, merged = features
        for mixer, beside in zip(self.mixers, reversed(finer), strict=True):
            larger = F.interpolate(merged, beside.shape[-2:], mode="bilinear", align_corners=False)
            merged = mixer(torch.cat([larger, beside], dim=1))
        result: Tensor = self.last(merged)
        return result


class BoxHead(nn.Module):
    """RBOX: a score, distances to the four edges, an angle within a quarter turn to both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.score = _score()
        self.distances = _output(torch.full((4,), math.log(FIRST_DISTANCE / (REACH - FIRST_DISTANCE))))
        self.angle = _output(torch.zeros(1))

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Squash distances and angle into their ranges, as published."""
        # In float32: half precision has steps of 1/4 pixel at 300, and of a degree at a right angle.
        distances = REACH * self.distances(features).float().sigmoid()
        angle = math.pi * (self.angle(features).float().sigmoid() - 0.5)
        return {"score": self.score(features), "geometry": torch.cat([distances, angle], dim=1)}


class QuadHead(nn.Module):
    """QUAD: a score, and offsets to the four corners."""

    def __init__(self) -> None:
        super().__init__()
        self.score = _score()
        # Corners of a small box about the cell, from the top left on, clockwise.
        first = torch.tensor([-2.0, -1.0, 2.0, -1.0, 2.0, 1.0, -2.0, 1.0]) * FIRST_DISTANCE
        self.offsets = _output(first / REACH)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Offsets in pixels; they have no range."""
        return {"score": self.score(features), "geometry": REACH * self.offsets(features).float()}


class DBHead(nn.Module):
    """Differentiable binarisation: a score and the threshold it is compared with, at half the stride."""

    def __init__(self) -> None:
        super().__init__()
        self.score = _fine_branch()
        self.threshold = _fine_branch()

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Logits of both."""
        return {"score": self.score(features), "threshold": self.threshold(features)}


def _score() -> nn.Conv2d:
    return _output(torch.full((1,), math.log(PRIOR / (1 - PRIOR))))


def _output(bias: Tensor) -> nn.Conv2d:
    """A last layer that begins by saying what its biases are."""
    layer = nn.Conv2d(WIDTH, len(bias), 1)
    layer.bias = nn.Parameter(bias)
    return layer


def _fine_branch() -> nn.Sequential:
    narrow = WIDTH // 2
    return nn.Sequential(
        *_convolution(WIDTH, narrow, 3),
        nn.ConvTranspose2d(narrow, narrow, 2, stride=2, bias=False),
        group_norm(narrow),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, 1, 1),
    )


def _convolution(inside: int, outside: int, side: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, side, padding=side // 2, bias=False),
        group_norm(outside),
        nn.ReLU(inplace=True),
    ]

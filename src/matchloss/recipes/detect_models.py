"""Detectors: a backbone from a library, a feature pyramid, and a head with two branches.

All have one face: images (N, 3, H, W) in; out comes a list with one dict a level, of strides 8, 16 and 32. A head on
points gives {"logits": (N, C, h, w), "distances": (N, 4 * bins, h, w)}, one on n anchors a place gives
{"logits": (N, n * C, h, w), "deltas": (N, n * 4, h, w)}: what the criteria and decoders take.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matchloss.recipes.backbones import SCRATCH, FrozenNorms, build_backbone, group_norm, level_channels
from matchloss.types import Targets

STRIDES = (8, 16, 32)
BINS = 16
"""A side of a box reaches up to 15 strides from its point."""

PYRAMID = 64
HEAD_DEPTH = 2
PRIOR = 0.01
"""How sure of an object the untrained head is: at one half, thousands of background points would be all the loss."""


def build_detector(
    name: str, *, classes: int, anchors: int | None = None, folder: Path, pretrained: bool = True
) -> nn.Module:
    """Build a detector.

    Args:
        name: "resnet" (small, random weights), or a backbone's name on Hugging Face, or a local folder.
        classes: how many.
        anchors: how many at each place; None for a head on points.
        folder: where the architecture of a Hugging Face backbone is kept, so that a run needs no network when it is
            resumed or evaluated.
        pretrained: False where the weights come from a checkpoint.
    """
    network = build_backbone(name, strides=STRIDES, folder=folder, pretrained=pretrained)
    return Detector(network, classes=classes, anchors=anchors, frozen_norms=name != SCRATCH)


class Detector(FrozenNorms):
    """Backbone, pyramid and head."""

    def __init__(self, backbone: nn.Module, *, classes: int, anchors: int | None, frozen_norms: bool) -> None:
        super().__init__(frozen_norms=frozen_norms)
        self.backbone = backbone
        self.pyramid = Pyramid(level_channels(backbone, STRIDES))
        self.head = Head(classes=classes, anchors=anchors)

    def forward(self, images: Tensor, targets: Targets | None = None) -> list[dict[str, Tensor]]:
        """Predict at every place of every level; only some models that predict a set look at the targets."""
        features: list[Tensor] = list(self.backbone(images).feature_maps)
        return [self.head(feature, level) for level, feature in enumerate(self.pyramid(features))]


class Pyramid(nn.Module):
    """Brings all levels to one width, and hands what the coarse ones know down to the fine ones."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, PYRAMID, 1) for count in channels)
        self.outputs = nn.ModuleList(_convolution() for _ in channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """From the features of the strides, finest first, to as many of one width."""
        levels = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        for index in range(len(levels) - 1, 0, -1):
            finer = levels[index - 1]
            levels[index - 1] = finer + F.interpolate(levels[index], finer.shape[-2:], mode="nearest")
        return [output(level) for output, level in zip(self.outputs, levels, strict=True)]


class Head(nn.Module):
    """One branch says what, the other where; the levels share them, so that an object of any size teaches all."""

    def __init__(self, *, classes: int, anchors: int | None) -> None:
        super().__init__()
        self.where = "distances" if anchors is None else "deltas"
        self.class_branch = nn.Sequential(*(_convolution() for _ in range(HEAD_DEPTH)))
        self.box_branch = nn.Sequential(*(_convolution() for _ in range(HEAD_DEPTH)))
        self.class_output = nn.Conv2d(PYRAMID, (anchors or 1) * classes, 1)
        self.box_output = nn.Conv2d(PYRAMID, 4 * (anchors or BINS), 1)
        self.scales = nn.Parameter(torch.ones(len(STRIDES)))
        for output in (self.class_output, self.box_output):
            nn.init.normal_(output.weight, std=0.01)
        prior = torch.full((self.class_output.out_channels,), math.log(PRIOR / (1 - PRIOR)))
        self.class_output.bias = nn.Parameter(prior)
        # Even odds of all bins would begin with boxes 15 strides wide, which overlap everything and fit nothing.
        first_guess = -0.3 * torch.arange(BINS).repeat(4) if anchors is None else torch.zeros(4 * anchors)
        self.box_output.bias = nn.Parameter(first_guess)

    def forward(self, feature: Tensor, level: int) -> dict[str, Tensor]:
        """Predict at one level."""
        logits = self.class_output(self.class_branch(feature))
        box = self.box_output(self.box_branch(feature)) * self.scales[level]
        return {"logits": logits, self.where: box}


def _convolution() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(PYRAMID, PYRAMID, 3, padding=1, bias=False), group_norm(PYRAMID), nn.ReLU(inplace=True)
    )

"""Detectors: a backbone from a library, a feature pyramid, and a head with two branches.

All have one face: images (N, 3, H, W) in; out comes a list with one dict a level, of strides 8, 16 and 32. A head on
points gives {"logits": (N, C, h, w), "distances": (N, 4 * bins, h, w)}, one on n anchors a place gives
{"logits": (N, n * C, h, w), "deltas": (N, n * 4, h, w)}: what the criteria and decoders take.
"""

import math
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from matchloss.recipes.errors import RunError
from matchloss.types import Targets

STRIDES = (8, 16, 32)
BINS = 16
"""A side of a box reaches up to 15 strides from its point."""
SCRATCH = "resnet"

WIDTHS = (32, 64, 128, 192)  # of the stages at strides 4 to 32; twice as wide is three times as slow on a CPU
PYRAMID = 64
HEAD_DEPTH = 2
CHANNELS_A_GROUP = 16
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
    if name == SCRATCH:
        network = _small_resnet()
    else:
        network = _hugging_face(name, folder) if pretrained else _from_folder(name, folder)
    return Detector(network, classes=classes, anchors=anchors, frozen_norms=name != SCRATCH)


class FrozenNorms(nn.Module):
    """A model that can keep the statistics of its batch norms.

    Pretrained ones are worth keeping: a few images a step would spoil them, and processes would differ.
    """

    def __init__(self, *, frozen_norms: bool) -> None:
        super().__init__()
        self.frozen_norms = frozen_norms

    def train(self, mode: bool = True) -> "FrozenNorms":
        """Leave out the norms."""
        super().train(mode)
        if self.frozen_norms:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


class Detector(FrozenNorms):
    """Backbone, pyramid and head."""

    def __init__(self, backbone: nn.Module, *, classes: int, anchors: int | None, frozen_norms: bool) -> None:
        super().__init__(frozen_norms=frozen_norms)
        self.backbone = backbone
        self.pyramid = Pyramid(_level_channels(backbone))
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
        nn.Conv2d(PYRAMID, PYRAMID, 3, padding=1, bias=False), _group_norm(PYRAMID), nn.ReLU(inplace=True)
    )


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_A_GROUP, channels)


def _small_resnet() -> nn.Module:
    from transformers import ResNetBackbone, ResNetConfig

    config = ResNetConfig(
        embedding_size=WIDTHS[0],
        hidden_sizes=list(WIDTHS),
        depths=[1, 1, 2, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    network: nn.Module = ResNetBackbone(config)
    replace_batch_norms(network)
    return network


def replace_batch_norms(module: nn.Module) -> None:
    """Group norm needs no statistics of a batch, which is small and may be split over processes."""
    for name, child in module.named_children():
        # The frozen ones of Hugging Face's detectors are classes of their own, one a model.
        if type(child).__name__.endswith("BatchNorm2d"):
            setattr(module, name, _group_norm(cast(Tensor, child.running_mean).numel()))
        else:
            replace_batch_norms(child)


def _hugging_face(name: str, folder: Path) -> nn.Module:
    from transformers import AutoBackbone, AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
        # The last three stages, which have the strides 8, 16 and 32 in the backbones that shrink step by step.
        config.out_features = config.stage_names[-len(STRIDES) :]
        # Not AutoBackbone.from_pretrained, which looks for every name on the hub, local folders too.
        network: Any = type(AutoBackbone.from_config(config)).from_pretrained(name, config=config)
    except (AttributeError, KeyError, OSError, ValueError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise RunError(
            f"cannot load the backbone {name!r}: it is neither {SCRATCH}, nor a folder or a Hugging Face name that "
            f"can be read here as a backbone ({reason})"
        ) from error
    network.config.save_pretrained(folder)
    backbone: nn.Module = network
    return backbone


def _from_folder(name: str, folder: Path) -> nn.Module:
    from transformers import AutoBackbone, AutoConfig

    try:
        network: nn.Module = AutoBackbone.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read the architecture of the backbone {name!r} in {folder}") from error
    return network


def _level_channels(backbone: Any) -> list[int]:
    """Count the channels of the levels, and see that their strides are those of the head."""
    side = 2 * STRIDES[-1]
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, side, side)).feature_maps
    strides = tuple(side // feature.shape[-1] for feature in features)
    if strides != STRIDES:
        raise RunError(
            f"the backbone {backbone.config.model_type} has features of the strides {strides}, expected {STRIDES}"
        )
    return [feature.shape[1] for feature in features]

"""Backbones from a library: images (N, 3, H, W) in, `feature_maps` out, one for each stride."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from matchloss.recipes.errors import RunError

SCRATCH = "resnet"

WIDTHS = (32, 64, 128, 192)  # of the stages at strides 4 to 32; twice as wide is three times as slow on a CPU
CHANNELS_A_GROUP = 16


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


def build_backbone(name: str, *, strides: Sequence[int], folder: Path, pretrained: bool = True) -> nn.Module:
    """Build a backbone whose last features have these strides, each twice the one before.

    Args:
        name: "resnet" (small, random weights), or a backbone's name on Hugging Face, or a local folder.
        strides: of the features, finest first; the last one is 32.
        folder: where the architecture of a Hugging Face backbone is kept, so that a run needs no network when it is
            resumed or evaluated.
        pretrained: False where the weights come from a checkpoint.
    """
    if name == SCRATCH:
        return _small_resnet(len(strides))
    return _hugging_face(name, len(strides), folder) if pretrained else _from_folder(name, folder)


def level_channels(backbone: Any, strides: Sequence[int]) -> list[int]:
    """Count the channels of the levels, and see that their strides are those that the head expects."""
    side = 2 * strides[-1]
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, side, side)).feature_maps
    found = tuple(side // feature.shape[-1] for feature in features)
    if found != tuple(strides):
        raise RunError(
            f"the backbone {backbone.config.model_type} has features of the strides {found}, expected {tuple(strides)}"
        )
    return [feature.shape[1] for feature in features]


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalise without a batch, which is small and may be split over processes."""
    return nn.GroupNorm(max(1, channels // CHANNELS_A_GROUP), channels)


def replace_batch_norms(module: nn.Module) -> None:
    """Put group norms in their place; with random weights, frozen statistics would do nothing."""
    for name, child in module.named_children():
        # The frozen ones of Hugging Face's detectors are classes of their own, one a model.
        if type(child).__name__.endswith("BatchNorm2d"):
            setattr(module, name, group_norm(cast(Tensor, child.running_mean).numel()))
        else:
            replace_batch_norms(child)


def _small_resnet(levels: int) -> nn.Module:
    from transformers import ResNetBackbone, ResNetConfig

    stages = [f"stage{number}" for number in range(1, len(WIDTHS) + 1)]
    config = ResNetConfig(
        embedding_size=WIDTHS[0],
        hidden_sizes=list(WIDTHS),
        depths=[1, 1, 2, 1],
        layer_type="basic",
        out_features=stages[-levels:],
    )
    network: nn.Module = ResNetBackbone(config)
    replace_batch_norms(network)
    return network


def _hugging_face(name: str, levels: int, folder: Path) -> nn.Module:
    from transformers import AutoBackbone, AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
        # The last stages, which have the strides up to 32 in the backbones that shrink step by step.
        config.out_features = config.stage_names[-levels:]
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

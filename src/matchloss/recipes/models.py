"""Segmentation models from libraries, all with one face: images (N, 3, H, W) in, logits (N, C, H, W) out."""

import warnings
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from matchloss.recipes.errors import RunError

UNET_CHANNELS = (16, 32, 64, 128, 192)

STRIDE = 32
"""What the height and width of images must be multiples of, for all of these models."""


def build_model(name: str, *, classes: int, folder: Path, pretrained: bool) -> nn.Module:
    """Build a model.

    Args:
        name: "unet", "segformer" (the smallest, random weights), or a name on Hugging Face or a local folder.
        classes: how many.
        folder: where the architecture of a Hugging Face model is kept, so that a run needs no network when it is
            resumed or evaluated.
        pretrained: False where the weights come from a checkpoint.
    """
    if name == "unet":
        return _unet(classes)
    if name == "segformer":
        return _segformer(classes)
    return _hugging_face(name, classes, folder) if pretrained else _from_folder(folder)


class Upsampled(nn.Module):
    """A segmentation model of transformers, with its logits enlarged to the size of the images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Give logits at the images' size."""
        logits: Tensor = self.network(pixel_values=images).logits
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def _unet(classes: int) -> nn.Module:
    with warnings.catch_warnings():
        # Importing MONAI touches old names of libraries it does not need here.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        from monai.networks.nets import UNet

    # Residual units train fast from random weights, and the first stride of 2 makes this the fastest U-Net on a CPU.
    # Instance norm: a batch of crops is too small for the statistics of batch norm, and may be split over processes.
    model: nn.Module = UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=classes,
        channels=UNET_CHANNELS,
        strides=(2,) * (len(UNET_CHANNELS) - 1),
        num_res_units=2,
        norm=("INSTANCE", {"affine": True}),
    )
    return model


def _segformer(classes: int) -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return Upsampled(SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes)))  # its defaults are B0


def _hugging_face(name: str, classes: int, folder: Path) -> nn.Module:
    from transformers import AutoModelForSemanticSegmentation

    try:
        # A head for another number of classes starts anew.
        network = AutoModelForSemanticSegmentation.from_pretrained(
            name, num_labels=classes, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise RunError(
            f"cannot load the model {name!r}: it is neither unet nor segformer, nor a folder or a Hugging "
            f"Face name that can be read here as a segmentation model ({reason})"
        ) from error
    network.config.save_pretrained(folder)
    return Upsampled(network)


def _from_folder(folder: Path) -> nn.Module:
    from transformers import AutoConfig, AutoModelForSemanticSegmentation

    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read the model's architecture in {folder}") from error
    return Upsampled(AutoModelForSemanticSegmentation.from_config(config))

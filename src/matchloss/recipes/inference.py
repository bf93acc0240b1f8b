"""Whole images through a model that was trained on crops."""

from typing import Any

import torch
from torch import Tensor, nn

from matchloss.recipes.augment import normalize, pad_to_multiple
from matchloss.recipes.models import STRIDE

LARGEST = 1024
"""Pixels along a side up to which an image goes through in one piece."""


def predict_labels(model: nn.Module, image: Tensor) -> Tensor:
    """Label every pixel of an image, uint8 (3, H, W), on the model's device; int64 (H, W).

    The image keeps its scale: it is padded by reflection to a multiple of the stride, and cut into overlapping windows
    if it is large.
    """
    height, width = image.shape[-2:]
    device = next(model.parameters()).device
    padded = pad_to_multiple(normalize(image), STRIDE)[None].to(device)
    logits = model(padded) if max(height, width) <= LARGEST else _in_windows(model, padded)
    return logits[0, :, :height, :width].argmax(0)


def _in_windows(model: nn.Module, images: Tensor) -> Tensor:
    """Blend the logits of overlapping windows, with the most weight on their middle, which sees the most around it."""
    from monai.inferers import sliding_window_inference

    logits: Any = sliding_window_inference(
        images,
        roi_size=(512, 512),
        sw_batch_size=4,
        predictor=model,
        overlap=0.25,
        mode="gaussian",
        padding_mode="reflect",
    )
    return torch.as_tensor(logits)

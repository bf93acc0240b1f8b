"""Whole images through a detector: scaled to its size, decoded, and brought back to their own pixels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from matchloss.recipes.augment_boxes import letterbox
from matchloss.recipes.box_metrics import Detected
from matchloss.recipes.detect_models import STRIDES
from matchloss.types import Detections

Decode = Callable[[list[dict[str, Tensor]], tuple[int, int]], Detections]
"""From what the model gives, and the height and width of what it was given, to boxes."""

MOST = 100
"""Boxes kept of an image, as the COCO metric does."""


def predict_boxes(model: nn.Module, decode: Decode, image: Tensor, long_side: int) -> Detected:
    """Find the objects of an image, uint8 (3, H, W), on the model's device; boxes in its own pixels, on the CPU.

    One image at a time: padded to the shape of others, it would have other statistics in every group norm, and what is
    found on it would depend on its neighbours.
    """
    fitted = letterbox(image, long_side=long_side, multiple=STRIDES[-1])
    images = fitted.image[None].to(next(model.parameters()).device)
    found = decode(model(images), (images.shape[2], images.shape[3]))
    boxes, scores, labels, valid = (part[0].cpu() for part in found)
    return Detected(fitted.restore(boxes[valid].float()), scores[valid].float(), labels[valid])


def pack(found: list[Detected], count: int) -> Tensor:
    """One tensor (count, MOST, 7) from the findings of up to `count` images, so that processes can gather them."""
    packed = torch.zeros(count, MOST, 7)
    for rows, (boxes, scores, labels) in zip(packed, found, strict=False):
        columns = [boxes, scores[:, None], labels[:, None].float(), torch.ones(len(boxes), 1)]
        rows[: len(boxes)] = torch.cat(columns, dim=1)
    return packed


def unpack(rows: Tensor) -> Detected:
    """The findings of one image again, from (MOST, 7)."""
    rows = rows[rows[:, 6] > 0]
    return Detected(rows[:, :4], rows[:, 4], rows[:, 5].long())

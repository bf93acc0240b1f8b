"""Whole images through a detector: scaled to its size, decoded, and brought back to their own pixels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from matchloss.recipes.augment_boxes import Letterboxed, letterbox
from matchloss.recipes.box_metrics import Annotated, Detected
from matchloss.recipes.detect_models import STRIDES
from matchloss.recipes.pixel_scale import PixelScale
from matchloss.types import Detections, Targets

Decode = Callable[[Any, tuple[int, int]], Detections]
"""From what the model gives, and the height and width of what it was given, to boxes."""

MOST = 100
"""Boxes kept of an image, as the COCO metric does."""


class Seen(NamedTuple):
    """An image as the model sees it, and what it gives."""

    outputs: Any
    fitted: Letterboxed

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) with what was filled up."""
        return self.fitted.image.shape[1], self.fitted.image.shape[2]

    def targets(self, truth: Annotated, device: torch.device) -> Targets:
        """Annotations of the image in the pixels that the model sees, a batch of one."""
        objects = {"boxes": truth.boxes * self.fitted.scale, "labels": truth.labels, "ignore": truth.ignore}
        listed = [{name: values.to(device) for name, values in objects.items()}]
        return Targets.from_list(listed, image_size=self.size)


def look_at(model: nn.Module, image: Tensor, long_side: int, pixels: PixelScale | None = None) -> Seen:
    """Put an image, uint8 (3, H, W), through a model on the model's device.

    One image at a time: padded to the shape of others, it would have other statistics in every group norm, and what is
    found on it would depend on its neighbours.
    """
    fitted = letterbox(image, long_side=long_side, multiple=STRIDES[-1], pixels=pixels)
    return Seen(model(fitted.image[None].to(next(model.parameters()).device)), fitted)


def found_boxes(seen: Seen, decode: Decode) -> Detected:
    """The objects of an image, boxes in its own pixels, on the CPU."""
    boxes, scores, labels, valid = (part[0].cpu() for part in decode(seen.outputs, seen.size))
    return Detected(seen.fitted.restore(boxes[valid].float()), scores[valid].float(), labels[valid])


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

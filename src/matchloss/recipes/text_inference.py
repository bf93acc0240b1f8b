"""Whole photos through a text detector: scaled, decoded, and the words brought back to the photo's own pixels."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from matchloss.recipes.augment_boxes import Letterboxed, letterbox
from matchloss.recipes.text_models import STRIDES
from matchloss.types import TextDetections

Decode = Callable[[dict[str, Tensor]], TextDetections]
"""From what the model gives to words, in pixels of what it was given."""

MOST = 500
"""Words kept of a photo."""


class Words(NamedTuple):
    """Words found in one photo, the surest first."""

    quads: Tensor  # float32 (n, 4, 2), pixels of the photo
    scores: Tensor  # float32 (n,)


class Seen(NamedTuple):
    """A photo as the model sees it, and what it gives."""

    outputs: dict[str, Tensor]
    fitted: Letterboxed


def look_at(model: nn.Module, image: Tensor, long_side: int) -> Seen:
    """Put a photo, uint8 (3, H, W), through a model on the model's device."""
    fitted = letterbox(image, long_side=long_side, multiple=STRIDES[-1])
    images = fitted.image[None].to(next(model.parameters()).device)
    return Seen(model(images), fitted)


def found_words(seen: Seen, decode: Decode) -> Words:
    """The words of a photo, on the CPU."""
    quads, scores, valid = (part[0].cpu() for part in decode(seen.outputs))
    return Words(quads[valid].float() / seen.fitted.scale[:2], scores[valid].float())


def pack(found: list[Words], count: int) -> Tensor:
    """One tensor (count, MOST, 10) from the words of up to `count` photos, so that processes can gather them."""
    packed = torch.zeros(count, MOST, 10)
    for rows, (quads, scores) in zip(packed, found, strict=False):
        rows[: len(quads)] = torch.cat([quads.flatten(1), scores[:, None], torch.ones(len(quads), 1)], dim=1)
    return packed


def unpack(rows: Tensor) -> Words:
    """The words of one photo again, from (MOST, 10)."""
    rows = rows[rows[:, 9] > 0]
    return Words(rows[:, :8].reshape(-1, 4, 2), rows[:, 8])

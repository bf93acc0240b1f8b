"""Words of images as arrays, and how much those of an image overlap."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..geometry import filled_area, quad_intersection

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
PAIRS_AT_ONCE = 2**16


class Words(NamedTuple):
    """Of one image."""

    quads: Floats
    """``(n, 4, 2)``."""
    values: Floats | None
    """``(n,)`` scores, or 1 for what is to be ignored."""


class Pairs(NamedTuple):
    """Words of one image that may touch: image by image, truth by truth, then by detection."""

    images: Indices
    real: Indices
    found: Indices
    iou: Floats
    share: Floats
    """Intersection over the area of the detection; 0 where that is 0."""

    def of_image(self, image: int) -> "Pairs":
        """Those of one image."""
        here = slice(*np.searchsorted(self.images, (image, image + 1)))
        return Pairs(self.images[here], self.real[here], self.found[here], self.iou[here], self.share[here])


def read_words(
    caller: str, name: str, quads: Tensor | ArrayLike, values: Tensor | ArrayLike | None, truncate: bool
) -> Words:
    """Check and copy what is given for one image; ``truncate`` takes the fractions off."""
    corners = _array(quads).reshape(-1, 4, 2) if np.size(_array(quads)) == 0 else _array(quads)
    if corners.ndim != 3 or corners.shape[1:] != (4, 2):
        raise ValueError(f"{caller}: expected {name} with quads (n, 4, 2), got {corners.shape}")
    if not np.isfinite(corners).all():
        raise ValueError(f"{caller}: expected {name} with finite quads, got NaN or infinity")
    numbers = None if values is None else _array(values)
    if numbers is not None and numbers.shape != corners.shape[:1]:
        raise ValueError(f"{caller}: expected {name} with one value a quad, got {numbers.shape} for {len(corners)}")
    return Words(np.trunc(corners) if truncate else corners, numbers)


def _array(values: Tensor | ArrayLike) -> Floats:
    return np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)


def touching_pairs(found: Sequence[Words], real: Sequence[Words]) -> Pairs:
    """Compare the words of all images at once, those whose upright boxes overlap; others share nothing."""
    columns = [
        np.stack([np.full(len(pairs), image), *pairs.T])
        for image, (words, truth) in enumerate(zip(found, real, strict=True))
        if len(pairs := _boxes_overlap(truth.quads, words.quads))
    ]
    if not columns:
        nothing, zeros = np.zeros(0, dtype=np.int64), np.zeros(0)
        return Pairs(nothing, nothing, nothing, zeros, zeros)
    images, truths, detections = np.concatenate(columns, axis=1)
    quads = torch.from_numpy(_gather(found, images, detections))
    other = torch.from_numpy(_gather(real, images, truths))
    blocks = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(quads), PAIRS_AT_ONCE)]
    shared = torch.cat([quad_intersection(quads[block], other[block]) for block in blocks]).numpy()
    area, other_area = filled_area(quads).numpy(), filled_area(other).numpy()
    return Pairs(images, truths, detections, _ratio(shared, area + other_area - shared), _ratio(shared, area))


def _boxes_overlap(quads: Floats, other: Floats) -> Indices:
    """``(p, 2)`` indices of those whose upright boxes share more than a border."""
    low, high = quads.min(1, initial=np.inf)[:, None], quads.max(1, initial=-np.inf)[:, None]
    return np.argwhere(((low < other.max(1, initial=-np.inf)) & (high > other.min(1, initial=np.inf))).all(-1))


def _gather(words: Sequence[Words], images: Indices, rows: Indices) -> Floats:
    starts = np.cumsum([0, *(len(image.quads) for image in words)])
    everything: Floats = np.concatenate([image.quads for image in words])
    return everything[starts[images] + rows]


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

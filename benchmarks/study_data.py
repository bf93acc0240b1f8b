"""The images of the study: as they are, or crops of them that hold a stated share of foreground."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from matchloss.recipes.data import Sample, SegmentationFolder

STRIDE = 8
"""Pixels between the places that are looked at."""
TOLERANCE = 1.25
"""A crop's share may be so many times above or below the one asked for."""
PER_IMAGE = 3


class Split(NamedTuple):
    """Samples to train on, and to score."""

    train: list[Sample]
    val: list[Sample]


@lru_cache(maxsize=1)
def whole_images(folder: Path) -> Split:
    """The folder's own split."""
    train, val = (SegmentationFolder(folder, split) for split in ("train", "val"))
    return Split([train[index] for index in range(len(train))], [val[index] for index in range(len(val))])


@lru_cache(maxsize=4)
def crops_of_share(folder: Path, share: float, size: int, train: int, val: int) -> Split:
    """Real crops, untouched in image and labels, of at most `train` and `val` places where the share is as asked."""
    images = whole_images(folder)
    return Split(choose_crops(images.train, share, size, train), choose_crops(images.val, share, size, val))


def choose_crops(samples: Sequence[Sample], share: float, size: int, count: int) -> list[Sample]:
    """The best crop of every image that has one, then the second best ones, and so on."""
    ranked = [(rank, crop) for sample in samples for rank, crop in enumerate(_crops(sample, share, size))]
    chosen = [crop for _, crop in sorted(ranked, key=lambda pair: pair[0])[:count]]  # stable: images stay in order
    if not chosen:
        raise ValueError(f"choose_crops: no image has a crop of {size} pixels with {100 * share:g}% foreground")
    return chosen


def foreground_share(samples: Sequence[Sample]) -> float:
    """Over all pixels of all samples."""
    return float(torch.cat([(sample.labels == 1).flatten() for sample in samples]).float().mean())


def _crops(sample: Sample, share: float, size: int) -> list[Sample]:
    """Up to `PER_IMAGE` places, the closest to the share first, none over more than half of another's side."""
    if min(sample.labels.shape) < size:
        return []
    shares = F.avg_pool2d((sample.labels == 1).double()[None, None], size, STRIDE)[0, 0]
    taken: list[Tensor] = []
    for flat in (shares.log() - torch.tensor(share).log()).abs().flatten().argsort(stable=True):
        place = torch.stack((flat // shares.shape[1], flat % shares.shape[1]))
        if not share / TOLERANCE <= shares[place[0], place[1]] <= share * TOLERANCE or len(taken) == PER_IMAGE:
            break
        if all((place - other).abs().max() * STRIDE >= size // 2 for other in taken):
            taken.append(place)
    crops = []
    for top, left in (place.mul(STRIDE).tolist() for place in taken):
        rows, columns = slice(top, top + size), slice(left, left + size)
        image, labels = sample.image[:, rows, columns], sample.labels[rows, columns]
        crops.append(Sample(image.contiguous(), labels.contiguous(), f"{sample.name}+{top}+{left}"))
    return crops

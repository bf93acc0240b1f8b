"""Words of images, padded to one number."""

from collections.abc import Sequence

from torch import Tensor

from .._core import compute_dtype
from ..types import TextDetections


def pad_words(words: Sequence[tuple[Tensor, Tensor]], like: Tensor, most: int | None) -> TextDetections:
    """The first of each image's ``(k, 4, 2)`` quads and ``(k,)`` scores, where the maps are, in their precision."""
    words = [(quads[:most], scores[:most]) for quads, scores in words]
    longest = max((len(scores) for _, scores in words), default=0)
    quads = like.new_zeros(len(words), longest, 4, 2, dtype=compute_dtype(like))
    scores = quads.new_zeros(len(words), longest)
    valid = scores.bool()
    for image, (found, values) in enumerate(words):
        quads[image, : len(values)] = found
        scores[image, : len(values)] = values
        valid[image, : len(values)] = True
    return TextDetections(quads, scores, valid)

"""Class logits as the softmax kernels for the CPU read them: flat arrays, without a copy where that can be."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .arrays_cpu import flat, flat_or_none

FEWEST_PIXELS = 32
"""Of a line; with fewer, even a copy into rows pays."""


class Pixels(NamedTuple):
    """What a kernel reads."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    counted: NDArray[np.bool_]
    """Empty where all pixels count, and so are its parts."""
    shape: tuple[int, int, int]
    """Images, classes, pixels an image."""
    are_rows: bool
    """Whether the classes of a pixel lie beside each other, and not the pixels of a class; then all are one image."""


def lie_in_rows(logits: Tensor) -> bool:
    """Whether of ``(N, C, P)`` logits one takes the classes of a pixel together: they lie so, or the pixels are few."""
    return logits.shape[2] < FEWEST_PIXELS or logits.transpose(1, 2).is_contiguous()


def as_lines(logits: Tensor, labels: Tensor, valid: Tensor | None) -> Pixels:
    """Of float32 ``(N, C, P)`` logits."""
    images, classes, pixels = logits.shape
    return Pixels(flat(logits), flat(labels.long()), flat_or_none(valid), (images, classes, pixels), are_rows=False)


def as_rows(logits: Tensor, labels: Tensor, valid: Tensor | None) -> Pixels:
    """The same, of logits that lie in rows."""
    images, classes, pixels = logits.shape
    shape = 1, classes, images * pixels
    return Pixels(flat(logits.transpose(1, 2)), flat(labels.long()), flat_or_none(valid), shape, are_rows=True)


def one_or_all(values: Tensor) -> NDArray[Any]:
    """A single one of ``(N, P)`` values that share one memory: the gradient of a sum comes so."""
    is_one = values.numel() > 0 and not any(values.stride())
    return flat(values[:1, :1] if is_one else values)

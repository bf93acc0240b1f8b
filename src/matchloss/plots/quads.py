"""A slice of the losses of quads: a word moved along."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from .. import losses
from .._core import Reduction
from .elementwise import over_difference
from .panels import Panel


def over_shifts() -> list[Panel]:
    """The loss of a word in the wrong place: the same pixels cost a small word more."""
    return over_difference({f"word {height} px high": partial(_moved, height=height) for height in (8, 16, 32)})


def _moved(predictions: Tensor, targets: Tensor, *, height: float, reduction: Reduction) -> Tensor:
    """Words four times as wide as high, each by its difference to the right."""
    corners = [[0.0, 0.0], [4 * height, 0.0], [4 * height, height], [0.0, height]]
    word = torch.tensor(corners, dtype=predictions.dtype)
    shift = torch.stack([predictions - targets, torch.zeros_like(targets)], -1)
    moved = word + shift[:, None]
    return losses.quad_smooth_l1_loss(moved, word.expand_as(moved), reduction=reduction)


QUAD_SLICES: dict[str, Callable[[], list[Panel]]] = {"quad_smooth_l1_loss": over_shifts}

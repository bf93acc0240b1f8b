"""What the criteria of scene text check: maps of one size, predicted and wanted."""

from collections.abc import Mapping

import torch
from torch import Tensor

from .._core import check_float, dtype_name


def check_score(caller: str, name: str, scores: Tensor) -> None:
    """Reject what is not a float map of one channel."""
    check_float(caller, name, scores)
    if scores.ndim != 4 or scores.shape[1] != 1:
        raise ValueError(f"{caller}: expected {name} of shape (B, 1, h, w), got {tuple(scores.shape)}")


def check_shapes(caller: str, tensors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Reject the first of these, by name, that has not the shape of the tensor beside it."""
    for name, (values, like) in tensors.items():
        if values.shape != like.shape:
            expected, got = tuple(like.shape), tuple(values.shape)
            raise ValueError(f"{caller}: expected {name} of shape {expected}, as was predicted, got {got}")


def check_bool(caller: str, name: str, mask: Tensor) -> None:
    """Reject a mask that is not boolean: ports differ in whether a 1 is to be used or to be ignored."""
    if mask.dtype != torch.bool:
        raise ValueError(f"{caller}: expected {name} of dtype bool (True = use), got {dtype_name(mask)}")

"""How losses of Gaussian distances flatten what is far."""

from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, or_one

Transform = Literal["log1p", "sqrt"]


def flatten_distance(caller: str, distance: Tensor, tau: float, transform: Transform) -> Tensor:
    """``1 - 1 / (tau + f(distance))``; the infinite slope of a root at 0 counts as 0."""
    check_option(caller, "transform", transform, ("log1p", "sqrt"))
    if not tau >= 1:
        raise ValueError(f"{caller}: expected tau >= 1, got {tau}")
    if transform == "sqrt":
        flat = torch.where(distance == 0, 0.0, or_one(distance).sqrt())
    else:
        flat = distance.log1p()
    return 1 - 1 / (tau + flat)

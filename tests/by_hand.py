"""What hand-drawn cases share: float64 numbers, logits of given probabilities, the slope of a loss."""

import math

import torch
from torch import Tensor

HALF = math.log(2)  # the cross entropy of p = 1/2


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def pixels(*probabilities: float) -> tuple[Tensor, Tensor]:
    """(1, 2, P) logits whose class 1 has these probabilities, all labelled 1."""
    second = torch.tensor([[logit(p) for p in probabilities]], dtype=torch.float64)
    return torch.stack([torch.zeros_like(second), second], 1), torch.ones(second.shape, dtype=torch.long)


def slope(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss, at)[0]

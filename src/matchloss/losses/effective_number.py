"""Class weights from class counts: :func:`effective_number_weights`."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .._core import or_one


def effective_number_weights(counts: Tensor | Sequence[float], *, beta: float = 0.999) -> Tensor:
    """Weights that undo unequal class counts, but less and less as a class has more examples.

        w_c ∝ (1 - β) / (1 - β^n_c),   Σ_c w_c = C

    For `class_weights` of :func:`cross_entropy_loss` or `alpha` of :func:`softmax_focal_loss`. 1 / (1 - β) examples
    exhaust a class; further ones add nothing. β = 0 gives equal weights, β towards 1 the inverse of the counts.

    Shapes:
        counts: (C,) examples (or pixels) per class, any number dtype, or a list.
        returns: (C,), float32 (float64 for float64), on the device of the counts.

    Args:
        beta: in [0, 1). For pixel counts use one nearer 1, such as 1 - 1e-6: with 0.999 all classes look full.

    Raises:
        ValueError: counts not one-dimensional, beta outside [0, 1), on the CPU a negative count.

    Reference:
        Cui et al. 2019, arXiv:1901.05555, proposition 1 for the effective number.

    Differs:
        A class without examples has weight 0 (the formula divides by zero), and the others sum to C; no example at
        all gives zeros. 1 - β^n is formed by expm1, since for β near 1 the subtraction has few digits left.

    Example:
        With β = 1/2 one example is worth 1, two are worth 1.5; the weights are as 3 to 2:

        >>> effective_number_weights([1, 2], beta=0.5)
        tensor([1.2000, 0.8000])
        >>> effective_number_weights([10, 1000, 0], beta=0.0)
        tensor([1.5000, 1.5000, 0.0000])
    """
    if not 0 <= beta < 1:
        raise ValueError(f"effective_number_weights: expected beta in [0, 1), got {beta}")
    counts = torch.as_tensor(counts)
    if counts.ndim != 1:
        raise ValueError(f"effective_number_weights: expected counts of shape (C,), got {tuple(counts.shape)}")
    if counts.device.type == "cpu" and bool((counts < 0).any()):
        raise ValueError(f"effective_number_weights: expected counts >= 0, got {counts.min().item()}")
    present = counts > 0
    some = torch.where(present, counts, 1).to(torch.float64 if counts.dtype == torch.float64 else torch.float32)
    # The factor 1 - β is the same for all classes and falls out of the normalisation.
    share = -torch.expm1(some * math.log(beta)) if beta > 0 else torch.ones_like(some)
    weights = torch.where(present, 1 / share, 0.0)
    return weights * (len(weights) / or_one(weights.sum()))

"""The Lovász extension on the CPU: numpy sorts with vector instructions, several times as fast as torch, row by row."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._core import use_fast_path

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def can_take_rows(values: Tensor) -> bool:
    """Whether the forms of this file may be used."""
    return values.device.type == "cpu" and values.dtype == torch.float32 and use_fast_path()


def jaccard_weights_by_rows(errors: Tensor, foreground: Tensor) -> Tensor:
    """What the batched sort gives, of ``(..., P)`` errors; those below 0 sort last."""
    weights = torch.empty(errors.shape)
    rows = [values.reshape(-1, errors.shape[-1]).numpy() for values in (errors, foreground, weights)]

    def fill(row: int) -> None:
        rows[2][row] = _weights(rows[0][row], rows[1][row])

    _each(fill, len(rows[2]) if errors.numel() else 0)
    return weights


def lovasz_of_probs(probs: Tensor, labels: Tensor, valid: Tensor | None, per_image: bool) -> Tensor:
    """``(N, C)``, or ``(1, C)`` for the batch as one image, from ``(N, C, P)`` probabilities and ``(N, P)`` labels."""
    losses: Tensor = _LovaszOfProbs.apply(probs, labels, valid, per_image)  # type: ignore[no-untyped-call]
    return losses


class _LovaszOfProbs(torch.autograd.Function):
    """Each row is done with while it is in cache, and only the slope of the loss in the probabilities is kept."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor, labels: Tensor, valid: Tensor | None, per_image: bool) -> Tensor:
        images, classes = probs.shape[:2]
        groups = [slice(image, image + 1) for image in range(images)] if per_image else [slice(images)]
        slopes = torch.empty(probs.shape)
        losses = torch.zeros(len(groups), classes)
        p, y, out, slope = probs.numpy(), labels.numpy(), losses.numpy(), slopes.numpy()
        v = None if valid is None else valid.numpy()

        def fill(row: int) -> None:
            group, index = divmod(row, classes)
            at = groups[group]
            out[group, index] = _fill(p[at, index], y[at] == index, None if v is None else v[at], slope[at, index])

        _each(fill, losses.numel() if probs.numel() else 0)
        ctx.save_for_backward(slopes)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return slopes * grad.unsqueeze(2), None, None, None


def _each(fill: Any, rows: int) -> None:
    """Do the rows in as many threads as torch uses; numpy lets go of the interpreter meanwhile."""
    threads = min(torch.get_num_threads(), rows)
    if threads < 2:
        for row in range(rows):
            fill(row)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(rows)))


def _fill(probs: Floats, foreground: Bools, valid: Bools | None, slopes: Floats) -> float:
    """Loss of one class; writes its slope in the probabilities."""
    errors = np.abs(probs - foreground)
    if valid is not None:
        errors[~valid] = -1  # last, with a weight of 0: see jaccard_weights
        foreground &= valid
    weights = _weights(errors.ravel(), foreground.ravel()).reshape(errors.shape)
    np.negative(weights, out=slopes, where=foreground)
    np.copyto(slopes, weights, where=~foreground)
    return float((errors * weights).sum(dtype=np.float64))


def _weights(errors: Floats, foreground: Bools) -> Floats:
    """Weights of one row; error, index and foreground travel through the sort in one integer."""
    size = errors.size
    # Floats >= 0 are ordered as their bits; inverted, the largest comes first, and a negative one after all of them.
    keys = np.invert(errors.view(np.int32)).astype(np.int64)
    keys <<= 32
    keys |= np.arange(0, 2 * size, 2, dtype=np.int64) + foreground
    keys.sort()
    is_hit = (keys & 1).astype(np.bool_)
    hits = is_hit.cumsum()
    missed = hits[-1] - hits
    union = missed + np.arange(1, size + 1)
    step = np.where(is_hit | (union == 1), np.float32(1), missed / np.maximum(union - 1, 1, dtype=np.float32))
    keys &= 0xFFFFFFFF
    keys >>= 1
    weights = np.empty(size, dtype=np.float32)
    weights[keys] = step / union
    return weights

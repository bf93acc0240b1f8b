"""How likely labels are on the CPU, for losses without sums by class; and the gradient of that.

The logits are read once forward and once backward, in the order in which they lie in memory, and nothing of their size
is kept between. Kept are two numbers a pixel, the highest logit and one over the sum of exponentials: with them a
gradient is a matter of its own logit alone, and is written as soon as that is read.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .arrays_cpu import flat
from .softmax_lines_cpu import read_lines, write_lines
from .softmax_pixels_cpu import as_lines, as_rows, lie_in_rows, one_or_all
from .softmax_rows_cpu import read_rows, write_rows
from .softmax_tile_cpu import WIDEST, tile_width
from .threads_cpu import share_rows

ELEMENTS_A_THREAD = 1 << 16
LONG_ROW = 64
"""Classes. To find the highest logit and the sum of shorter rows, one turns them into lines."""


def read_likelihood(
    logits: Tensor, labels: Tensor, valid: Tensor | None, spread: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of float32 logits ``(N, C, P)``, as ``(N, P)`` that are 0 where not valid:

    the log probability of the labels; the sum of the log probabilities of all classes, each times its number of
    ``spread`` ``(C,)``, or of no image without a spread; and, two of them, what the gradient asks for.
    """
    images, classes, pixels = logits.shape
    log_prob, summed = torch.empty(images, pixels), torch.empty(0 if spread is None else images, pixels)
    kept = torch.empty(2, images, pixels)
    out = log_prob.view(-1).numpy(), summed.view(-1).numpy(), kept.view(2, -1).numpy()
    factors, are_rows = _factors(spread), lie_in_rows(logits)
    read = (as_rows if are_rows else as_lines)(logits, labels, valid)
    if are_rows and classes >= LONG_ROW:
        kernel, units = read_rows, images * pixels
    else:
        kernel, units = read_lines, read.shape[0] * -(-read.shape[2] // tile_width(classes))
    share_rows(lambda part: kernel(read, part.start, part.stop, factors, out), units, _enough(units, logits))
    return log_prob, summed, kept


def write_gradient(
    of_results: tuple[Tensor, Tensor],
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    spread: Tensor | None,
    kept: Tensor,
) -> Tensor:
    """Gradient in the logits, laid out as they are, of the first two results; without a spread, of the first alone."""
    images, classes, pixels = logits.shape
    given = one_or_all(of_results[0]), one_or_all(of_results[1])
    factors, normal, are_rows = _factors(spread), kept.view(2, -1).numpy(), lie_in_rows(logits)
    read = (as_rows if are_rows else as_lines)(logits, labels, valid)
    grad = torch.empty((images, pixels, classes) if are_rows else (images, classes, pixels))
    kernel, units = (write_rows, images * pixels) if are_rows else (write_lines, images * -(-pixels // WIDEST))
    out = grad.view(-1).numpy()
    share_rows(
        lambda part: kernel(read, part.start, part.stop, given, factors, normal, out), units, _enough(units, logits)
    )
    return grad.transpose(1, 2) if are_rows else grad


def _enough(units: int, logits: Tensor) -> int:
    """Units that are worth a thread."""
    return 1 + ELEMENTS_A_THREAD * units // max(logits.numel(), 1)


def _factors(spread: Tensor | None) -> NDArray[np.float32]:
    return np.empty(0, np.float32) if spread is None else flat(spread)

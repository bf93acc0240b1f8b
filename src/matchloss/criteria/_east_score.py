"""The score of EAST, text or not at each pixel: its cross entropy, balanced or plain."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import compute_dtype, keep_valid, to_compute

ScoreInput = Literal["logits", "probabilities"]
Empty = Literal["negatives", "paper", "zero"]
EPSILON = torch.finfo(torch.float32).eps
"""Within the logarithms of probabilities; logits need none."""


class ScorePixels(NamedTuple):
    """Scores beside their targets, ``(P,)``, and the two halves of their cross entropy, ``()``."""

    probabilities: Tensor
    targets: Tensor
    """0 where not valid."""
    valid: Tensor
    """Bool."""
    text: Tensor
    """``-Σ t log p`` over the valid pixels of this rank."""
    background: Tensor
    """``-Σ (1 - t) log(1 - p)``."""


def read_score(scores: Tensor, targets: Tensor, valid: Tensor, score_input: ScoreInput) -> ScorePixels:
    """Take ``(B, 1, h, w)`` maps apart; what a masked pixel holds is gone before any arithmetic."""
    valid = valid.flatten()
    targets = keep_valid(targets.flatten().to(compute_dtype(scores)), valid)
    scores = keep_valid(to_compute(scores.flatten()), valid)
    if score_input == "logits":
        probabilities, log_text, log_background = scores.sigmoid(), F.logsigmoid(scores), F.logsigmoid(-scores)
    else:
        probabilities, log_text, log_background = scores, (scores + EPSILON).log(), (1 - scores + EPSILON).log()
    text = -(targets * log_text).sum()
    background = -keep_valid((1 - targets) * log_background, valid).sum()
    return ScorePixels(probabilities, targets, valid, text, background)


def balanced_cross_entropy(pixels: ScorePixels, beta: Tensor, divisor: Tensor) -> Tensor:
    """The paper's mean; β is one factor of each half, so that the halves give the plain mean as well."""
    return (beta * pixels.text + (1 - beta) * pixels.background) / divisor


def cross_entropy(pixels: ScorePixels, divisor: Tensor) -> Tensor:
    """The plain mean."""
    return (pixels.text + pixels.background) / divisor


def without_text(term: Tensor, text: Tensor, plain: Tensor, empty: Empty) -> Tensor:
    """The term as `empty` says, decided on the device: `text` is 0 where no rank has any."""
    if empty == "paper":
        return term
    # Not `text > 0`: a NaN must not pass for a batch without text.
    return torch.where(text != 0, term, plain if empty == "negatives" else 0.0)

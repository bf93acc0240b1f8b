"""The Lovász extension of the Jaccard loss, what both Lovász losses are made of."""

import torch
from torch import Tensor


def lovasz_extension(errors: Tensor, foreground: Tensor, valid: Tensor | None) -> Tensor:
    """Convex extension of 1 - IoU from sets of wrong pixels to errors ``(..., P)`` between right and wrong.

    Sort the errors, the largest first. Let pixel after pixel go wrong in that order: each raises 1 - IoU by its weight,
    and the result is the sum of errors times weights. It is linear while the order stays, so its gradient is the
    weights, and sort, counts and scatter are constants of the backward.
    """
    return (errors * jaccard_weights(errors.detach(), foreground, valid)).sum(-1)


@torch.no_grad()
def jaccard_weights(errors: Tensor, foreground: Tensor, valid: Tensor | None) -> Tensor:
    """By how much each pixel raises 1 - IoU; 0 where not valid, unless nothing is.

    With G pixels of foreground, of which f, and b of the background, have gone wrong so far, 1 - IoU is
    1 - (G - f) / (G + b). One more raises it by 1 / (G + b) if foreground, by (G - f) / ((G + b - 1) (G + b)) if
    background, itself included in f and b. Both are quotients of exact counts; to subtract neighbouring values of
    1 - IoU instead, as is usual, leaves no digit beyond some million pixels in float32.
    """
    if valid is not None:
        # Below every error, so they sort last: those before them are weighted as if they were not there, and their own
        # weight is 0, since no foreground is left to miss by then.
        errors, foreground = torch.where(valid, errors, -1.0), foreground & valid
    order = errors.argsort(dim=-1, descending=True, stable=True)
    is_hit = foreground.gather(-1, order)
    hits = is_hit.cumsum(-1)
    missed = hits[..., -1:] - hits
    union = missed + torch.arange(1, errors.shape[-1] + 1, device=errors.device)
    # A union of 1 without a hit: the first wrong pixel of an image without foreground, which takes IoU from 1 to 0.
    step = torch.where(is_hit | (union == 1), 1, missed.to(errors.dtype) / (union - 1).clamp(min=1))
    return torch.empty_like(errors).scatter_(-1, order, step / union)

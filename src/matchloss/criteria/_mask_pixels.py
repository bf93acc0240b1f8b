"""Focal and Dice of whole masks, each row by itself: small logits against targets of the image's size.

The upsampled logits are some sixteen times as large as the logits, and autograd would keep half a dozen tensors of that
size for every matched query of every layer. Here a block of rows is upsampled at a time, its gradient is brought back
to the small size at once, and that is all that is kept.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import no_autocast, use_fast_path
from ..losses._focal_term import plain_focal_term
from ._mask_targets import ALPHA, GAMMA, SMOOTH, MaskTargets

BLOCK = {"cpu": 1 << 20}
"""Pixels a block: on a CPU what its caches hold, elsewhere what keeps the device busy."""
LARGE_BLOCK = 1 << 26


def pixel_losses(logits: Tensor, targets: MaskTargets) -> tuple[Tensor, Tensor]:
    """Focal loss, the mean over the pixels, and Dice loss ``(R,)`` of float logits ``(R, h, w)``."""
    if use_fast_path():
        losses: tuple[Tensor, Tensor] = _PixelLosses.apply(logits, *targets)  # type: ignore[no-untyped-call]
        return losses
    return _plain(logits, targets)


def _plain(logits: Tensor, targets: MaskTargets) -> tuple[Tensor, Tensor]:
    """The specification: ordinary operators, differentiable any number of times."""
    masks, pixels = targets.rows(slice(None))
    logits, actual = _upsample(logits, masks.shape[1:]), masks.to(logits.dtype)
    focal, probs = plain_focal_term(logits, actual, ALPHA, GAMMA), logits.sigmoid()
    if pixels is not None:
        focal, probs = torch.where(pixels, focal, 0.0), torch.where(pixels, probs, 0.0)
    overlap, total = (probs * actual).sum((1, 2)), probs.sum((1, 2)) + actual.sum((1, 2))
    return focal.sum((1, 2)) / _area(masks, pixels), 1 - (2 * overlap + SMOOTH) / (total + SMOOTH)


def _area(masks: Tensor, pixels: Tensor | None) -> Tensor:
    """Pixels that the mean of each row is over; an image that is nothing but padding must not divide by zero."""
    if pixels is None:
        return torch.full(masks.shape[:1], masks.shape[1:].numel(), device=masks.device)
    return pixels.sum((1, 2)).clamp(min=1)


class _PixelLosses(torch.autograd.Function):
    """The gradients of both losses are made beside the values, at the size of the small logits."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, masks: Tensor, pixels: Tensor | None, target: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        targets = MaskTargets(masks, pixels, target, image)
        losses = logits.new_empty(2, len(logits))
        slopes = torch.empty_like(logits.expand(2, *logits.shape)) if ctx.needs_input_grad[0] else None
        shares = _shares(logits, masks.shape[1:])
        for part in _blocks(logits, masks):
            of_part = None if slopes is None else slopes[:, part]
            losses[:, part] = _block_losses(logits[part], *targets.rows(part), shares, of_part)
        ctx.save_for_backward(logits, masks, pixels, target, image, slopes)
        return losses[0], losses[1]

    @staticmethod
    def backward(ctx: Any, grad_focal: Tensor, grad_dice: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, *targets, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            losses = _plain(logits, MaskTargets(*targets))
            (grad,) = torch.autograd.grad(losses, logits, (grad_focal, grad_dice), create_graph=True)
        else:
            grad = slopes[0] * grad_focal[:, None, None]
            grad.addcmul_(slopes[1], grad_dice[:, None, None])
        return grad, None, None, None, None


def _blocks(logits: Tensor, masks: Tensor) -> list[slice]:
    """Rows that are computed together."""
    size = max(BLOCK.get(logits.device.type, LARGE_BLOCK) // max(masks.shape[1:].numel(), 1), 1)
    return [slice(start, start + size) for start in range(0, len(logits), size)]


def _block_losses(
    logits: Tensor, masks: Tensor, pixels: Tensor | None, shares: tuple[Tensor, Tensor], slopes: Tensor | None
) -> Tensor:
    """``(2, r)`` losses of some rows; their slopes ``(2, r, h, w)`` go where they are told.

    A positive is a negative in the mirror: with s = 1 - 2t, z = s x, u the sigmoid of z (what a pixel misses of its
    target) and c = log(1 + e^z), the focal loss is α_t u² c, its slope s α_t u² (2 (1 - u) c + u), and p = t + s u.
    """
    actual = masks.to(logits.dtype)
    sign = 1 - 2 * actual
    mirrored = _upsample(logits, masks.shape[1:]).mul_(sign)
    missed, entropy = mirrored.sigmoid(), F.softplus(mirrored, threshold=50.0)
    others = 1 - missed
    if pixels is not None:
        missed.mul_(pixels)  # finite or to be seen, so a product is enough; all below is a multiple of it
    factor = sign.mul(0.5 - ALPHA).add_(0.5).mul_(missed).mul_(missed)  # α_t u²
    area = _area(masks, pixels)
    missed_positives, positives = (missed * actual).sum((1, 2)), actual.sum((1, 2))
    denominator = missed.sum((1, 2)) - 2 * missed_positives + 2 * positives + SMOOTH
    ratio = (2 * (positives - missed_positives) + SMOOTH) / denominator
    losses = torch.stack([(factor * entropy).sum((1, 2)) / area, 1 - ratio])
    if slopes is not None:
        slope = torch.addcmul(missed, others, entropy, value=2).mul_(factor).mul_(sign)
        slopes[0] = _downsample(slope, shares) / area[:, None, None]
        slope = sign.add_((ratio - 1)[:, None, None]).mul_(missed).mul_(others)
        slopes[1] = _downsample(slope, shares) / denominator[:, None, None]
    return losses


def _upsample(logits: Tensor, size: torch.Size) -> Tensor:
    """``(R, h, w)`` to ``(R, H, W)``."""
    return F.interpolate(logits.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)


def _shares(logits: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """``(h, H)`` and ``(w, W)``: the share that each cell has in each row, and each column, of the upsampled logits."""
    down, across = (
        F.interpolate(torch.eye(small, dtype=logits.dtype, device=logits.device)[None], size=large, mode="linear")[0]
        for small, large in zip(logits.shape[1:], size, strict=True)
    )
    return down, across


def _downsample(values: Tensor, shares: tuple[Tensor, Tensor]) -> Tensor:
    """The transpose of upsampling, which carries gradients back.

    Products of matrices, full of zeros though these are, take a third of the time of torch's own scatter on a CPU, and
    on a GPU they add in the same order each time.
    """
    with no_autocast(values):
        return shares[0] @ values @ shares[1].T


def reach_of(pixels: Tensor, logits: Tensor) -> Tensor:
    """Cells ``(B, h, w)`` of logits ``(R, h, w)`` with a share in some pixel ``(B, H, W)`` that counts."""
    return _downsample(pixels.to(logits.dtype), _shares(logits, pixels.shape[1:])) > 0

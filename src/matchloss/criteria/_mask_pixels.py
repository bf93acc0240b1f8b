"""Focal and Dice of whole masks, each row by itself: small logits against targets of the image's size.

The upsampled logits are some sixteen times as large as the logits, and autograd would keep half a dozen tensors of that
size for every matched query of every layer. Here a block of rows is upsampled at a time, its gradient is brought back
to the small size at once, and that is all that is kept.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import use_fast_path
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


def reach_of(pixels: Tensor, size: torch.Size) -> Tensor:
    """Cells ``(B, h, w)`` with a share in some pixel ``(B, H, W)`` that counts, when upsampled to that size."""
    return _downsample(pixels.float(), size) > 0


def _upsample(logits: Tensor, size: torch.Size) -> Tensor:
    """``(R, h, w)`` to ``(R, H, W)``."""
    return F.interpolate(logits.unsqueeze(1), size=size, mode="bilinear", align_corners=False).squeeze(1)


def _downsample(values: Tensor, size: torch.Size) -> Tensor:
    """The transpose of upsampling, which carries gradients back."""
    rows, large = values.shape[0], values.shape[1:]
    small: Tensor = torch.ops.aten.upsample_bilinear2d_backward(
        values.unsqueeze(1), large, (rows, 1, *size), False, None, None
    )
    return small.squeeze(1)


def _plain(logits: Tensor, targets: MaskTargets) -> tuple[Tensor, Tensor]:
    """The specification: ordinary operators, differentiable any number of times."""
    masks, pixels = targets.rows(slice(None))
    logits, actual = _upsample(logits, masks.shape[1:]), masks.to(logits.dtype)
    focal, probs = plain_focal_term(logits, actual, ALPHA, GAMMA), logits.sigmoid()
    if pixels is not None:
        focal, probs = torch.where(pixels, focal, 0.0), torch.where(pixels, probs, 0.0)
    overlap, total = (probs * actual).sum((1, 2)), probs.sum((1, 2)) + actual.sum((1, 2))
    return focal.sum((1, 2)) / _area(pixels, masks), 1 - (2 * overlap + SMOOTH) / (total + SMOOTH)


def _area(pixels: Tensor | None, masks: Tensor) -> Tensor | int:
    """Pixels that the mean of a row is over; an image that is nothing but padding must not divide by zero."""
    return masks.shape[1:].numel() if pixels is None else pixels.sum((1, 2)).clamp(min=1)


class _PixelLosses(torch.autograd.Function):
    """The gradients of both losses are made beside the values, at the size of the small logits."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, masks: Tensor, pixels: Tensor | None, target: Tensor, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        targets = MaskTargets(masks, pixels, target, image)
        losses = logits.new_empty(2, len(logits))
        slopes = torch.empty_like(logits.expand(2, *logits.shape)) if ctx.needs_input_grad[0] else None
        for part in _blocks(logits, masks):
            of_part = None if slopes is None else slopes[:, part]
            losses[:, part] = _block_losses(logits[part], *targets.rows(part), of_part)
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
    pixels = max(masks.shape[1:].numel(), 1)
    size = max(BLOCK.get(logits.device.type, LARGE_BLOCK) // pixels, 1)
    return [slice(start, start + size) for start in range(0, len(logits), size)]


def _block_losses(logits: Tensor, masks: Tensor, pixels: Tensor | None, slopes: Tensor | None) -> Tensor:
    """``(2, r)`` losses of some rows; their slopes ``(2, r, h, w)`` go where they are told.

    A positive is a negative in the mirror: with s = 1 - 2t and z = s x, u the sigmoid of z and c = log(1 + e^z), the
    focal loss is α_t u² c and its slope s α_t u² (2 (1 - u) c + u).
    """
    sign = torch.where(masks, -1.0, 1.0).to(logits.dtype)
    mirrored = _upsample(logits, masks.shape[1:]).mul_(sign)
    missed, entropy = mirrored.sigmoid(), F.softplus(mirrored, threshold=50.0)
    factor = torch.where(masks, ALPHA, 1 - ALPHA).to(logits.dtype).mul_(missed).mul_(missed)
    if pixels is not None:  # what reaches a pixel that counts is finite or shall be seen, so a product is enough
        factor.mul_(pixels)
    area = _area(pixels, masks)
    focal = (factor * entropy).sum((1, 2)) / area
    probs = torch.where(masks, 1 - missed, missed)
    if pixels is not None:
        probs.mul_(pixels)
    overlap, total = (probs * masks).sum((1, 2)), probs.sum((1, 2)) + masks.sum((1, 2))
    ratio = (2 * overlap + SMOOTH) / (total + SMOOTH)
    if slopes is not None:
        size = logits.shape[1:]
        slope = torch.addcmul(missed, 1 - missed, entropy, value=2).mul_(factor).mul_(sign)
        slopes[0] = _downsample(slope.div_(area if isinstance(area, int) else area[:, None, None]), size)
        pull = torch.where(masks, (ratio - 2)[:, None, None], ratio[:, None, None])
        pull.mul_(missed).mul_(1 - missed).div_((total + SMOOTH)[:, None, None])
        slopes[1] = _downsample(pull if pixels is None else pull.mul_(pixels), size)
    return torch.stack([focal, 1 - ratio])

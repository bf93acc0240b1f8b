"""The mask terms of set prediction: each matched query's mask beside its target's, whole or at points."""

import torch
from torch import Tensor

from .._core import to_compute
from ._box_rows import rows_to_compare
from ._mask_pixels import pixel_losses, reach_of
from ._mask_points import point_losses
from ._mask_targets import MaskTargets


def mask_sums(
    logits: Tensor,
    masks: Tensor,
    matched: Tensor,
    weights: Tensor,
    pixels: Tensor | None,
    *,
    points: int | None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Weighted sums over the matched targets of a cross entropy and of the Dice loss of their masks, ``(L,)`` each.

    Whole masks: the logits are upsampled to the targets' size; focal loss, the mean over the pixels, as DETR has it. At
    points: binary cross entropy, the mean over points drawn for each mask, most where its logits are unsure, as
    PointRend and Mask2Former have it. Both leave padding out, which neither of them does.

    Shapes:
        logits: (L, B, M, h, w), masks of the query that each target has; anything where there is none.
        masks: (B, M, H, W) bool, of the same images.
        matched: (L, B, M) bool.
        weights: (B, M).
        pixels: (B, H, W) bool, False where an image was padded; None where all pixels count.

    Args:
        points: how many points a mask; None for whole masks.
        generator: of the logits' device, for points that can be had again.

    Reference:
        Carion et al. 2020, arXiv:2005.12872, section 4.4; Kirillov et al. 2020, arXiv:1912.08193, section 3.3; Cheng
        et al. 2022, arXiv:2112.01527, section 3.3.

    Differs:
        Padded pixels count in DETR's, transformers' and Mask2Former's, so that an image's loss depends on the sizes of
        its neighbours in the batch. Mask2Former draws points in the padding too, and reads zeros past the border.
    """
    layers, images, most = matched.shape
    chosen = rows_to_compare(matched)
    is_matched = matched.flatten()[chosen]
    target = chosen % (images * most) if images * most else chosen
    image = target // most if most else target
    targets = MaskTargets(masks.flatten(0, 1), pixels, target, image)
    rows, counts, reach = to_compute(logits.flatten(0, 2)[chosen]), is_matched[:, None, None], None
    if pixels is not None:
        # A pixel takes a share of nothing from some neighbours, and nothing times NaN is NaN.
        reach = reach_of(pixels, rows)
        counts = counts & reach[image]
    rows = torch.where(counts, rows, 0.0)
    losses = pixel_losses(rows, targets) if points is None else point_losses(rows, targets, reach, points, generator)
    counted = torch.where(is_matched, weights.flatten()[target].to(rows.dtype), 0.0)
    spread = (loss.new_zeros(matched.numel()).scatter(0, chosen, loss * counted) for loss in losses)
    first, second = (values.view(layers, images * most).sum(1) for values in spread)
    return first, second

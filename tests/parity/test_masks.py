"""Mask terms beside those of transformers: DETR's on whole masks, Mask2Former's at points."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from matchloss.criteria import _mask_points
from matchloss.criteria._mask_rows import mask_sums
from matchloss.types import Targets

pytestmark = pytest.mark.parity

MATCHED = torch.ones(1, 2, 2, dtype=torch.bool)
WEIGHTS = torch.ones(2, 2)
RAMP = torch.arange(-7.0, 8.0, 2.0)


def scene(*sizes: tuple[int, int]) -> tuple[Tensor, Targets]:
    """Logits of the matched queries and targets of two images, two objects in each."""
    rng = torch.Generator().manual_seed(0)
    boxes, labels = torch.zeros(2, 4), torch.zeros(2)
    masks = [torch.rand(2, *size, generator=rng) < 0.4 for size in sizes]
    targets = Targets.from_list([{"boxes": boxes, "labels": labels, "masks": one} for one in masks])
    return 2 * torch.randn(1, 2, 2, 8, 10, generator=rng), targets


def theirs(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """The criterion of transformers, every target matched with the query of its number."""
    detr = pytest.importorskip("transformers.loss.loss_for_object_detection")
    criterion = detr.ImageLoss(matcher=None, num_classes=1, eos_coef=0.1, losses=[])
    assert targets.masks is not None
    here = targets.masks[:, 0] | True if targets.pixels is None else targets.pixels
    cut = [image[:, own.any(1)][:, :, own.any(0)] for image, own in zip(targets.masks, here, strict=True)]
    indices = [(torch.arange(2), torch.arange(2))] * 2
    losses = criterion.loss_masks({"pred_masks": logits[0]}, [{"masks": mask} for mask in cut], indices, num_boxes=1)
    return losses["loss_mask"], losses["loss_dice"]


def ours(logits: Tensor, targets: Targets, pixels: Tensor | None) -> tuple[Tensor, Tensor]:
    assert targets.masks is not None
    focal, dice = mask_sums(logits, targets.masks, MATCHED, WEIGHTS, pixels, points=None)
    return focal[0], dice[0]


def test_whole_masks_of_detr() -> None:
    logits, targets = scene((32, 40), (32, 40))
    both = ours(logits.requires_grad_(), targets, targets.pixels), theirs(logits, targets)
    slopes = [torch.autograd.grad(focal + 2 * dice, logits) for focal, dice in both]
    assert_close(both[0], both[1])
    assert_close(slopes[0], slopes[1])


def test_detr_counts_the_padding_and_we_do_not() -> None:
    """Without `pixels` the numbers are theirs; with them, other ones."""
    logits, targets = scene((32, 40), (20, 24))
    assert_close(ours(logits, targets, None), theirs(logits, targets))
    for got, wanted in zip(ours(logits, targets, targets.pixels), theirs(logits, targets), strict=True):
        assert (got - wanted).abs() > 0.02


def test_points_of_mask2former(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its losses of the values at our points; it reads zeros past the border, and there we ask it not to."""
    peer = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    logits, targets = scene((32, 40), (32, 40))
    assert targets.masks is not None
    drawn: list[Tensor] = []
    uncertain = _mask_points._draw
    monkeypatch.setattr(_mask_points, "_draw", lambda *args: drawn.append(uncertain(*args)) or drawn[-1])
    got = mask_sums(logits, targets.masks, MATCHED, WEIGHTS, None, points=112)
    read = {"align_corners": False, "padding_mode": "border"}
    x = peer.sample_point(logits.view(4, 1, 8, 10), drawn[0], **read).squeeze(1)
    t = peer.sample_point(targets.masks.view(4, 1, 32, 40).float(), drawn[0], **read).squeeze(1)
    assert_close(got[0].squeeze(), peer.sigmoid_cross_entropy_loss(x, t, 1))
    assert_close(got[1].squeeze(), peer.dice_loss(x, t, 1))


def both_points(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Points drawn for logits (1, 8, 8), by us and by them."""
    peer = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    config = pytest.importorskip("transformers").Mask2FormerConfig()
    torch.manual_seed(0)
    criterion = peer.Mask2FormerLoss(config, weight_dict={})
    points = criterion.sample_points_using_uncertainty(
        logits[None], criterion.calculate_uncertainty, 4096, config.oversample_ratio, config.importance_sample_ratio
    )
    none = torch.tensor([0])
    mine = _mask_points._draw(logits, none, _mask_points.MaskTargets(logits > 0, None, none, none), None, 4096, None)
    assert mine.shape == points.shape == (1, 4096, 2)
    return mine[0], points[0]


def test_points_lie_where_mask2former_puts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a ramp through zero: three quarters of them within an eighth of the width from the outline."""
    peer = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    monkeypatch.setattr(peer, "sample_point", partial(peer.sample_point, padding_mode="border"))
    shares = [((one[:, 0] - 0.5).abs() < 0.125).float().mean().item() for one in both_points(RAMP.expand(1, 8, 8))]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)
    assert shares[0] == pytest.approx(0.75 + 0.25 * 0.25, abs=0.03)


def test_mask2former_looks_at_the_border_of_the_image_and_we_do_not() -> None:
    """With zeros past the border, logits of plain background seem unsure there."""
    both = both_points(RAMP.expand(1, 8, 8) / 100 - 8)
    shares = [((one - 0.5).abs().amax(1) > 7 / 16).float().mean().item() for one in both]
    assert shares[1] > 0.7
    assert shares[0] < 0.4

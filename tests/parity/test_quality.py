"""Losses of matched queries beside the methods of transformers: value and gradient, a match of IoU 0 among them."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from matchloss.losses import iou_aware_binary_cross_entropy_loss, matchability_aware_loss

pytestmark = pytest.mark.parity

CLASSES = 4
BOXES = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2], *[[0.5] * 4] * 2]])
TARGET_BOXES = torch.tensor([[0.5, 0.5, 0.4, 0.2], [0.9, 0.9, 0.1, 0.1]])  # IoU 1/2 with query 0, 0 with query 1
TARGETS = [{"boxes": TARGET_BOXES, "class_labels": torch.tensor([2, 1])}]
INDICES = [(torch.tensor([0, 1]), torch.tensor([0, 1]))]
LABELS, SCORES = torch.tensor([[2, 1, -1, -1, -1]]), torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.0]])


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(1, 5, CLASSES, generator=torch.Generator().manual_seed(0), requires_grad=True)


def criterion(**options: float | None) -> SimpleNamespace:
    rows = torch.tensor([0, 0]), torch.tensor([0, 1])
    return SimpleNamespace(num_classes=CLASSES, _get_source_permutation_idx=lambda _: rows, **options)


def assert_same(ours: Tensor, theirs: Tensor, logits: Tensor) -> None:
    assert_close(ours, theirs)
    assert_close(*(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, theirs)))


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_matchability_aware_of_deim_in_transformers(logits: Tensor, alpha: float | None) -> None:
    peer = pytest.importorskip("transformers.loss.loss_deimv2").Deimv2Loss
    outputs = {"logits": logits, "pred_boxes": BOXES}
    theirs = peer.loss_labels_mal(criterion(gamma=1.5, mal_alpha=alpha), outputs, TARGETS, INDICES, num_boxes=2)
    ours = matchability_aware_loss(logits, LABELS, scores=SCORES, alpha=alpha, reduction="sum") / 2
    assert_same(ours, theirs["loss_mal"], logits)


def test_iou_aware_of_lw_detr_in_transformers(logits: Tensor) -> None:
    peer = pytest.importorskip("transformers.loss.loss_lw_detr").LwDetrImageLoss
    outputs = {"logits": logits, "pred_boxes": BOXES}
    theirs = peer.loss_labels(criterion(focal_alpha=0.25), outputs, TARGETS, INDICES, num_boxes=2)["loss_ce"]
    ours = iou_aware_binary_cross_entropy_loss(logits, LABELS, scores=SCORES, reduction="sum") / 2
    assert_same(ours, theirs, logits)


def test_lw_detr_is_infinite_where_a_probability_rounds_to_one_and_ours_is_not(logits: Tensor) -> None:
    peer = pytest.importorskip("transformers.loss.loss_lw_detr").LwDetrImageLoss
    sure = torch.full_like(logits, 18.0)
    outputs = {"logits": sure, "pred_boxes": BOXES}
    theirs = peer.loss_labels(criterion(focal_alpha=0.25), outputs, TARGETS, INDICES, num_boxes=2)["loss_ce"]
    assert theirs.isinf()
    ours = iou_aware_binary_cross_entropy_loss(sure, LABELS, scores=SCORES, reduction="sum")
    # eighteen negatives, a match of target (1/2)^(3/4), and one of target 0.01
    assert_close(ours.item(), 18 * 18 + 18 * (1 - 0.5**0.75) + 18 * 0.99, rtol=1e-4, atol=0)

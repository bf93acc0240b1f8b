"""Classification losses beside other libraries' own numbers; each convention of theirs is options or a line of ours."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from matchloss.losses import (
    asymmetric_loss,
    binary_cross_entropy_loss,
    cross_entropy_loss,
    ohem_cross_entropy_loss,
    quality_focal_loss,
    sigmoid_focal_loss,
    softmax_focal_loss,
    varifocal_loss,
)

pytestmark = pytest.mark.parity

CLASSES = 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def logits() -> Tensor:
    return 3 * torch.randn(2, CLASSES, 5, 6, generator=generator())


@pytest.fixture
def labels() -> Tensor:
    return torch.randint(0, CLASSES, (2, 5, 6), generator=generator(1))


@pytest.fixture
def ignored(labels: Tensor) -> Tensor:
    return labels.masked_fill(torch.rand(labels.shape, generator=generator(2)) < 0.3, -100)


@pytest.fixture
def one_hot(labels: Tensor) -> Tensor:
    return F.one_hot(labels, CLASSES).movedim(-1, 1).float()


CLASS_WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 4.0])


# torch


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHTS])
def test_cross_entropy_of_torch(
    logits: Tensor, ignored: Tensor, weight: Tensor | None, label_smoothing: float, reduction: str
) -> None:
    options = {"label_smoothing": label_smoothing, "reduction": reduction}
    got = cross_entropy_loss(logits, ignored, class_weights=weight, **options)
    assert_close(got, F.cross_entropy(logits, ignored, weight=weight, **options))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_of_torch_with_soft_targets(logits: Tensor, label_smoothing: float) -> None:
    soft = torch.rand(logits.shape, generator=generator(3)).softmax(1)
    got = cross_entropy_loss(logits, soft, label_smoothing=label_smoothing)
    assert_close(got, F.cross_entropy(logits, soft, label_smoothing=label_smoothing))
    weighed = cross_entropy_loss(logits, soft, class_weights=CLASS_WEIGHTS, reduction="sum")
    assert_close(weighed / soft[:, 0].numel(), F.cross_entropy(logits, soft, weight=CLASS_WEIGHTS))  # its divisor


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("pos_weight", [None, torch.tensor(3.0), CLASS_WEIGHTS.view(CLASSES, 1, 1)])
def test_binary_cross_entropy_of_torch(
    logits: Tensor, one_hot: Tensor, pos_weight: Tensor | None, reduction: str
) -> None:
    got = binary_cross_entropy_loss(logits, one_hot, pos_weight=pos_weight, reduction=reduction)
    wanted = F.binary_cross_entropy_with_logits(logits, one_hot, pos_weight=pos_weight, reduction=reduction)
    assert_close(got, wanted)


# Sigmoid focal


@pytest.mark.parametrize("alpha", [None, 0.25, 0.9])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_sigmoid_focal_of_fvcore_and_torchvision(
    logits: Tensor, one_hot: Tensor, alpha: float | None, gamma: float, reduction: str
) -> None:
    fvcore = pytest.importorskip("fvcore.nn")
    got = sigmoid_focal_loss(logits, one_hot, alpha=alpha, gamma=gamma, reduction=reduction)
    off = -1 if alpha is None else alpha
    assert_close(got, fvcore.sigmoid_focal_loss(logits, one_hot, alpha=off, gamma=gamma, reduction=reduction))
    # torchvision's, by its formula: α_t (1 - p_t)^γ times the cross entropy
    p = logits.sigmoid()
    p_t = p * one_hot + (1 - p) * (1 - one_hot)
    alpha_t = 1 if alpha is None else alpha * one_hot + (1 - alpha) * (1 - one_hot)
    wanted = alpha_t * (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(logits, one_hot, reduction="none")
    assert_close(got, {"none": wanted, "sum": wanted.sum(), "mean": wanted.mean()}[reduction])


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_binary_focal_of_kornia(logits: Tensor, one_hot: Tensor, alpha: float | None) -> None:
    kornia = pytest.importorskip("kornia.losses")
    got = sigmoid_focal_loss(logits, one_hot, alpha=alpha)
    assert_close(got, kornia.binary_focal_loss_with_logits(logits, one_hot, alpha=alpha, reduction="mean"))
    # pos_weight multiplies the positive elements
    weighed = sigmoid_focal_loss(logits, one_hot, alpha=alpha, weights=torch.where(one_hot == 1, 3.0, 1.0))
    pos_weight = torch.full((CLASSES,), 3.0)
    theirs = kornia.binary_focal_loss_with_logits(logits, one_hot, alpha=alpha, reduction="mean", pos_weight=pos_weight)
    assert_close(weighed, theirs)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_sigmoid_focal_of_monai(logits: Tensor, labels: Tensor, one_hot: Tensor, alpha: float | None) -> None:
    monai = pytest.importorskip("monai.losses")
    got = sigmoid_focal_loss(logits, one_hot, alpha=alpha)
    assert_close(got, monai.FocalLoss(alpha=alpha)(logits, one_hot))
    classes_last = sigmoid_focal_loss(logits.movedim(1, -1), labels, alpha=alpha)
    assert_close(classes_last, monai.FocalLoss(alpha=alpha, to_onehot_y=True)(logits, labels.unsqueeze(1)))
    # its sum averages over space first
    total = sigmoid_focal_loss(logits, one_hot, alpha=alpha, reduction="sum") / logits[0, 0].numel()
    assert_close(total, monai.FocalLoss(alpha=alpha, reduction="sum")(logits, one_hot))


def test_sigmoid_focal_of_transformers() -> None:
    transformers = pytest.importorskip("transformers.loss.loss_for_object_detection")
    logits = torch.randn(2, 10, CLASSES, generator=generator())  # batch, queries, classes
    labels = torch.randint(-1, CLASSES, (2, 10), generator=generator(1))  # -1: no object
    one_hot = F.one_hot(labels + 1, CLASSES + 1)[..., 1:].float()
    num_boxes = 7
    got = sigmoid_focal_loss(logits, labels, reduction="sum") / num_boxes
    # theirs averages over the queries, and the criteria of the DETR family multiply that back
    assert_close(got, transformers.sigmoid_focal_loss(logits, one_hot, num_boxes) * logits.shape[1])


# Softmax focal


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_softmax_focal_of_kornia(logits: Tensor, ignored: Tensor, alpha: float | None, gamma: float) -> None:
    kornia = pytest.importorskip("kornia.losses")
    per_class = None if alpha is None else torch.tensor([1 - alpha] + [alpha] * (CLASSES - 1))
    options = {"alpha": alpha, "gamma": gamma}
    total = softmax_focal_loss(logits, ignored, alpha=per_class, gamma=gamma, reduction="sum")
    assert_close(total, kornia.focal_loss(logits, ignored, **options, reduction="sum"))
    # its mean divides by every element of (N, C, H, W), ignored ones too
    assert_close(total / logits.numel(), kornia.focal_loss(logits, ignored, **options, reduction="mean"))


@pytest.mark.parametrize(("alpha", "per_class"), [(0.25, [0.75, 0.25, 0.25, 0.25]), ([1.0, 2.0, 3.0, 4.0],) * 2])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_softmax_focal_of_monai(
    logits: Tensor, labels: Tensor, one_hot: Tensor, alpha: float | list[float], per_class: list[float], gamma: float
) -> None:
    monai = pytest.importorskip("monai.losses")

    def theirs(reduction: str) -> Tensor:
        loss = monai.FocalLoss(alpha=alpha, gamma=gamma, use_softmax=True, to_onehot_y=True, reduction=reduction)
        return loss(logits, labels.unsqueeze(1))

    options = {"alpha": torch.tensor(per_class), "gamma": gamma}
    for targets in (labels, one_hot):
        assert_close(softmax_focal_loss(logits, targets, **options, reduction="none"), theirs("none").sum(1))
        assert_close(softmax_focal_loss(logits, targets, **options) / CLASSES, theirs("mean"))
        total = softmax_focal_loss(logits, targets, **options, reduction="sum")
        assert_close(total / labels[0].numel(), theirs("sum"))  # theirs averages over space first


# Quality, varifocal


def anchors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(A, C) logits, labels with -1 for background, scores with some 0, and the dense targets of both."""
    logits = 2 * torch.randn(30, CLASSES, generator=generator())
    labels = torch.randint(-1, CLASSES, (30,), generator=generator(1))
    scores = torch.rand(30, generator=generator(2)) * (torch.rand(30, generator=generator(3)) < 0.8)
    dense = F.one_hot(labels + 1, CLASSES + 1)[:, 1:] * scores[:, None]
    return logits, labels, scores, dense


def test_quality_focal_of_mmdetection_by_its_formula() -> None:
    logits, labels, scores, dense = anchors()
    wanted = (logits.sigmoid() - dense).abs() ** 2 * F.binary_cross_entropy_with_logits(logits, dense, reduction="none")
    got = quality_focal_loss(logits, labels, scores=scores)
    assert_close(got * CLASSES, wanted.sum(1).mean())  # summed over classes, averaged over anchors


def test_varifocal_of_mmdetection_and_ultralytics_by_their_formulas() -> None:
    logits, labels, scores, dense = anchors()
    label = F.one_hot(labels + 1, CLASSES + 1)[:, 1:]
    p, cross_entropy = logits.sigmoid(), F.binary_cross_entropy_with_logits(logits, dense, reduction="none")
    mmdetection = (dense * (dense > 0) + 0.75 * (p - dense).abs() ** 2 * (dense <= 0)) * cross_entropy
    assert_close(varifocal_loss(logits, labels, scores=scores, reduction="none"), mmdetection)
    ultralytics = (0.75 * p**2 * (1 - label) + dense * label) * cross_entropy
    assert_close(varifocal_loss(logits, labels, scores=scores, positives="labels", reduction="none"), ultralytics)
    assert not torch.allclose(mmdetection, ultralytics)  # a positive of score 0 tells them apart


def test_varifocal_of_rtdetr_in_transformers() -> None:
    """Value and gradient of its own method, matched boxes of IoU 0 among them."""
    rt_detr = pytest.importorskip("transformers.loss.loss_rt_detr")
    logits = torch.randn(1, 5, CLASSES, generator=generator(), requires_grad=True)
    boxes = torch.tensor([[[0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2], *[[0.5] * 4] * 2]])
    target_boxes = torch.tensor([[0.5, 0.5, 0.4, 0.2], [0.9, 0.9, 0.1, 0.1]])  # IoU 1/2 with query 0, 0 with query 1
    targets = [{"boxes": target_boxes, "class_labels": torch.tensor([2, 1])}]
    indices = [(torch.tensor([0, 1]), torch.tensor([0, 1]))]
    criterion = SimpleNamespace(
        num_classes=CLASSES,
        alpha=0.75,
        gamma=2.0,
        _get_source_permutation_idx=lambda _: (torch.tensor([0, 0]), torch.tensor([0, 1])),
    )
    outputs = {"logits": logits, "pred_boxes": boxes}
    theirs = rt_detr.RTDetrLoss.loss_labels_vfl(criterion, outputs, targets, indices, num_boxes=2)["loss_vfl"]
    labels, scores = torch.tensor([[2, 1, -1, -1, -1]]), torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.0]])
    options = {"scores": scores, "positives": "labels", "detach": True, "reduction": "sum"}
    ours = varifocal_loss(logits, labels, **options) / 2
    assert_close(ours, theirs)
    assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


# Formulas of libraries that are not here


@pytest.mark.parametrize("clip", [None, 0.05])
def test_asymmetric_of_its_authors_by_their_formula(logits: Tensor, one_hot: Tensor, clip: float | None) -> None:
    logits = logits.double()  # their 1 - p has too few digits left in float32
    p = logits.sigmoid()
    p_m = (p - (clip or 0)).clamp(min=0)
    wanted = one_hot * (1 - p) * p.log() + (1 - one_hot) * p_m**4 * (1 - p_m).log()
    assert_close(asymmetric_loss(logits, one_hot, clip=clip, reduction="sum"), -wanted.sum())


@pytest.mark.parametrize("threshold", [0.001, 0.9])
def test_ohem_of_mmsegmentation_by_its_formula(logits: Tensor, ignored: Tensor, threshold: float) -> None:
    valid = ignored != -100
    p = logits.softmax(1).gather(1, ignored.clamp(min=0).unsqueeze(1)).squeeze(1)[valid]
    min_kept = 10
    kept = p < max(p.sort().values[min_kept].item(), threshold)
    assert (kept.sum().item() == min_kept) is (threshold == 0.001)  # once the rank decides, once the threshold
    got = ohem_cross_entropy_loss(logits, ignored, threshold=threshold, min_kept=min_kept)
    assert_close(got, -p[kept].log().mean())

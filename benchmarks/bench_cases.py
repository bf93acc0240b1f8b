"""What is timed: our losses beside their peers on the same tensors, and what we aim at."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from bench_assign import task_aligned_variants
from bench_matching import set_prediction
from bench_measure import Loss
from bench_peers import peer
from bench_text_maps import text_maps
from bench_text_nms import text_nms
from matchloss.criteria import SegmentationCriterion
from matchloss.losses import (
    CrossEntropyLoss,
    SoftmaxDiceLoss,
    SoftmaxFocalLoss,
    SoftmaxGeneralizedDiceLoss,
    SoftmaxJaccardLoss,
    SoftmaxTverskyLoss,
    ciou_loss,
    giou_loss,
    lovasz_softmax_loss,
    sigmoid_focal_loss,
    softmax_dice_loss,
)

SIX = {
    "cross_entropy": CrossEntropyLoss,
    "focal": SoftmaxFocalLoss,
    "dice": SoftmaxDiceLoss,
    "jaccard": SoftmaxJaccardLoss,
    "tversky": SoftmaxTverskyLoss,
    "generalized_dice": SoftmaxGeneralizedDiceLoss,
}


@dataclass(frozen=True)
class Aim:
    """How `ours` is to compare with `other`: at least so many times as fast, or at most so many times as slow."""

    ours: str
    other: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class MemoryAim:
    """At most so many tensors of the logits' size beside the gradient."""

    ours: str
    tensors: float


@dataclass
class Case:
    """One operation; variants not named in `differs` have one value."""

    title: str
    logits: Tensor
    variants: dict[str, Loss]
    aims: list[Aim] = field(default_factory=list)
    memory_aims: list[MemoryAim] = field(default_factory=list)
    differs: tuple[str, ...] = ()


def cases(device: str, *, quick: bool) -> Iterator[Case]:
    """One after the other, so that only one holds memory."""
    generator = torch.Generator().manual_seed(0)
    yield focal(_logits((2, 84, 8) if quick else (8, 8400, 80), device, generator), generator)
    for make, side in ((cross_entropy_and_dice, 512), (dice, 512), (lovasz, 256), (six_losses, 512)):
        shape = (2, 19, 16, 16) if quick else (4, 19, side, side)
        logits = _logits(shape, device, generator)
        # Labels in patches, as in a picture.
        coarse = torch.randint(0, 19, (shape[0], 1, 8, 8), generator=generator).float()
        labels = F.interpolate(coarse, shape[2:], mode="nearest")[:, 0].long().to(device)
        yield make(logits, labels)
    boxes, targets = box_pairs(2000 if quick else 200_000, device, generator)
    yield giou(boxes, targets)
    yield ciou(boxes, targets)
    for count in (3,) if quick else (10, 50, 150):
        yield task_aligned(count, device, generator, quick=quick)
    for title, leaf, variants, aims in set_prediction(device, generator, quick=quick):
        yield Case(title, leaf, variants, [Aim("matchloss", *aim) for aim in aims])
    for title, leaf, variants, aims in (
        *text_maps(device, generator, quick=quick),
        *text_nms(device, generator, quick=quick),
    ):
        yield Case(title, leaf, variants, [Aim("matchloss", *aim) for aim in aims], differs=tuple(variants)[1:])


def task_aligned(count: int, device: str, generator: torch.Generator, *, quick: bool) -> Case:
    """No backward: the leaf is there for the table alone. Ties at a metric of 0 are free, so the sums differ."""
    side, images = (64, 2) if quick else (640, 16)
    title, leaf, variants = task_aligned_variants(count, side, images, device, generator)
    return Case(title, leaf, variants, [Aim("matchloss", "Ultralytics", at_least=15.0)], differs=("Ultralytics",))


def focal(logits: Tensor, generator: torch.Generator) -> Case:
    """One anchor in a hundred is an object. Peers get dense targets for free; making them is not timed."""
    shape, classes = logits.shape[:-1], logits.shape[-1]
    is_object = torch.rand(shape, generator=generator) < 0.01
    labels = torch.where(is_object, torch.randint(0, classes, shape, generator=generator), -1).to(logits.device)
    dense = (labels.unsqueeze(-1) == torch.arange(classes, device=logits.device)).float()
    variants: dict[str, Loss] = {
        "matchloss, integer labels": lambda: sigmoid_focal_loss(logits, labels),
        "matchloss, dense targets": lambda: sigmoid_focal_loss(logits, dense),
    }
    if function := peer("fvcore.nn", "sigmoid_focal_loss"):
        variants["fvcore"] = lambda: function(logits, dense, alpha=0.25, gamma=2.0, reduction="mean")
    if other := peer("kornia.losses", "binary_focal_loss_with_logits"):
        variants["kornia"] = lambda: other(logits, dense, alpha=0.25, gamma=2.0, reduction="mean")
    variants["plain BCE"] = lambda: F.binary_cross_entropy_with_logits(logits, dense)
    ours = ("matchloss, integer labels", "matchloss, dense targets")
    # fvcore's formula is torchvision's, line by line; the aim names torchvision.
    aims = [Aim(name, "fvcore", at_least=5.0) for name in ours]
    memory = [MemoryAim(name, 1.0) for name in ours]
    return Case(f"sigmoid focal {_size(logits)}", logits, variants, aims, memory, differs=("plain BCE",))


def cross_entropy_and_dice(logits: Tensor, labels: Tensor) -> Case:
    """The aim speaks of no one-hot; the memory column shows it."""
    criterion = SegmentationCriterion({"cross_entropy": 1.0, "dice": 1.0})
    variants: dict[str, Loss] = {
        "matchloss": lambda: criterion(logits, labels).total,
        "one-hot formula": lambda: F.cross_entropy(logits, labels) + one_hot_dice(logits, labels),
    }
    if kind := peer("monai.losses", "DiceCELoss"):
        combined = kind(to_onehot_y=True, softmax=True, smooth_nr=0.0, smooth_dr=1e-8)
        variants["MONAI DiceCELoss"] = lambda: combined(logits, labels.unsqueeze(1))
    variants["plain cross entropy"] = lambda: F.cross_entropy(logits, labels)
    aims = [
        Aim("matchloss", "one-hot formula", at_least=3.5),
        Aim("matchloss", "MONAI DiceCELoss", at_least=2.0),
        Aim("matchloss", "plain cross entropy", at_most=1.4),
    ]
    title = f"softmax cross entropy + Dice {_size(logits)}"
    return Case(title, logits, variants, aims, differs=("plain cross entropy",))


def one_hot_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """What people write by hand."""
    probs = logits.softmax(1)
    target = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(probs.dtype)
    both, total = (probs * target).sum((2, 3)), (probs + target).sum((2, 3))
    present = target.sum((2, 3)) > 0
    return torch.where(present, 1 - 2 * both / total, 0.0).sum() / present.sum()


def dice(logits: Tensor, labels: Tensor) -> Case:
    """Alone."""
    variants: dict[str, Loss] = {"matchloss": lambda: softmax_dice_loss(logits, labels)}
    if function := peer("kornia.losses", "dice_loss"):
        variants["kornia"] = lambda: function(logits, labels, average="macro")
    if kind := peer("monai.losses", "DiceLoss"):
        alone = kind(to_onehot_y=True, softmax=True, smooth_nr=0.0, smooth_dr=1e-8)
        variants["MONAI DiceLoss"] = lambda: alone(logits, labels.unsqueeze(1))
    variants["one-hot formula"] = lambda: one_hot_dice(logits, labels)
    return Case(f"softmax Dice {_size(logits)}", logits, variants)


def lovasz(logits: Tensor, labels: Tensor) -> Case:
    """Kornia sorts each image by itself; so does ours in the row that the aim is about."""
    variants: dict[str, Loss] = {
        "matchloss, per image": lambda: lovasz_softmax_loss(logits, labels, per_image=True, classes="all"),
        "matchloss, default": lambda: lovasz_softmax_loss(logits, labels),
    }
    if function := peer("kornia.losses", "lovasz_softmax_loss"):
        variants["kornia"] = lambda: function(logits, labels)
    aims = [Aim("matchloss, per image", "kornia", at_least=3.0)]
    return Case(f"Lovasz-softmax {_size(logits)}", logits, variants, aims, differs=("matchloss, default",))


def six_losses(logits: Tensor, labels: Tensor) -> Case:
    """One read of the logits against six."""
    criterion = SegmentationCriterion(dict.fromkeys(SIX, 1.0))
    modules = [kind() for kind in SIX.values()]
    variants: dict[str, Loss] = {
        "matchloss, one criterion": lambda: criterion(logits, labels).total,
        "matchloss, six losses": lambda: torch.stack([module(logits, labels) for module in modules]).sum(),
    }
    return Case(f"six losses {_size(logits)}", logits, variants)


def box_pairs(count: int, device: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Targets of 10 to 200 pixels, and predictions that overlap most of them."""
    low, size = 400 * torch.rand(count, 2, generator=generator), 10 + 190 * torch.rand(count, 2, generator=generator)
    moved = low + size * (torch.rand(count, 2, generator=generator) - 0.5)
    other = size * (0.5 + torch.rand(count, 2, generator=generator))
    boxes, targets = torch.cat([moved, moved + other], 1), torch.cat([low, low + size], 1)
    return boxes.to(device).requires_grad_(), targets.to(device)


def giou(boxes: Tensor, targets: Tensor) -> Case:
    """Pairs; what the peers add to areas does not show at this size."""
    variants: dict[str, Loss] = {"matchloss": lambda: giou_loss(boxes, targets)}
    if theirs := peer("torchvision.ops.giou_loss", "generalized_box_iou_loss"):
        variants["torchvision"] = lambda: theirs(boxes, targets, reduction="mean")
    if other := peer("fvcore.nn", "giou_loss"):
        variants["fvcore"] = lambda: other(boxes, targets, reduction="mean")
    if overlap := peer("ultralytics.utils.metrics", "bbox_iou"):
        variants["Ultralytics"] = lambda: (1 - overlap(boxes, targets, xywh=False, GIoU=True)).mean()
    aims = [Aim("matchloss", name, at_least=6.0) for name in ("torchvision", "fvcore")]
    return Case(f"GIoU {_size(boxes)}", boxes, variants, aims)


def ciou(boxes: Tensor, targets: Tensor) -> Case:
    """The same pairs."""
    variants: dict[str, Loss] = {"matchloss": lambda: ciou_loss(boxes, targets)}
    if theirs := peer("torchvision.ops.ciou_loss", "complete_box_iou_loss"):
        variants["torchvision"] = lambda: theirs(boxes, targets, reduction="mean")
    if overlap := peer("ultralytics.utils.metrics", "bbox_iou"):
        variants["Ultralytics"] = lambda: (1 - overlap(boxes, targets, xywh=False, CIoU=True)).mean()
    variants["written-out formula"] = lambda: written_out_ciou(boxes, targets)
    aims = [Aim("matchloss", name, at_least=4.0) for name in ("torchvision", "written-out formula")]
    return Case(f"CIoU {_size(boxes)}", boxes, variants, aims)


def written_out_ciou(boxes: Tensor, targets: Tensor, eps: float = 1e-7) -> Tensor:
    """What people write by hand, as torchvision does."""
    low, high = torch.maximum(boxes[:, :2], targets[:, :2]), torch.minimum(boxes[:, 2:], targets[:, 2:])
    around_low, around_high = torch.minimum(boxes[:, :2], targets[:, :2]), torch.maximum(boxes[:, 2:], targets[:, 2:])
    size, target_size = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    shared = (high - low).clamp(min=0).prod(1)
    iou = shared / (size.prod(1) + target_size.prod(1) - shared + eps)
    offset = (boxes[:, :2] + boxes[:, 2:] - targets[:, :2] - targets[:, 2:]) / 2
    distance = offset.square().sum(1) / ((around_high - around_low).square().sum(1) + eps)
    angle, target_angle = (torch.atan(sides[:, 0] / sides[:, 1]) for sides in (size, target_size))
    aspect = 4 / math.pi**2 * (target_angle - angle).square()
    with torch.no_grad():
        trade_off = aspect / (1 - iou + aspect + eps)
    return (1 - iou + distance + trade_off * aspect).mean()


def _logits(shape: tuple[int, ...], device: str, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator).to(device).requires_grad_()


def _size(logits: Tensor) -> str:
    return f"[{', '.join(map(str, logits.shape))}]"

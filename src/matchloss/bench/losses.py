"""Rows of the losses that aims are set for, beside formulas and peers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..criteria import SegmentationCriterion
from ..losses import (
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
)
from . import formulas
from .rows import Row, Variant, dims, formula, least_traffic, peer
from .scenes import anchor_scores, box_pairs, class_maps, one_hot
from .setting import Setting

SIX = {
    "cross_entropy": CrossEntropyLoss,
    "focal": SoftmaxFocalLoss,
    "dice": SoftmaxDiceLoss,
    "jaccard": SoftmaxJaccardLoss,
    "tversky": SoftmaxTverskyLoss,
    "generalized_dice": SoftmaxGeneralizedDiceLoss,
}


def focal(setting: Setting, shape: tuple[int, int, int]) -> Row:
    """One anchor in a hundred is an object. Peers get dense targets for free; making them is not timed."""
    logits, labels, _ = anchor_scores(setting, (2, 84, 8) if setting.quick else shape)
    dense = one_hot(labels, logits.shape[-1]).to(logits.dtype)
    others: dict[str, Variant] = {"one-hot formula": formula(lambda: formulas.one_hot_focal(logits, labels))}
    if of_torchvision := setting.peers.find("torchvision.ops", "sigmoid_focal_loss"):
        others["torchvision"] = peer(lambda: of_torchvision(logits, dense, reduction="mean"))
    if of_fvcore := setting.peers.find("fvcore.nn", "sigmoid_focal_loss"):
        others["fvcore"] = peer(lambda: of_fvcore(logits, dense, alpha=0.25, gamma=2.0, reduction="mean"))
    if of_kornia := setting.peers.find("kornia.losses", "binary_focal_loss_with_logits"):
        others["kornia"] = peer(lambda: of_kornia(logits, dense, alpha=0.25, gamma=2.0, reduction="mean"))
    others["plain BCE"] = formula(
        lambda: F.binary_cross_entropy_with_logits(logits, dense), differs="no focal weight: the floor of the field"
    )
    return Row(
        f"{dims(*logits.shape)} logits, labels",
        lambda: sigmoid_focal_loss(logits, labels),
        logits,
        options={"matchloss, dense targets": lambda: sigmoid_focal_loss(logits, dense)},
        others=others,
        least_bytes=least_traffic(logits, labels),
    )


def cross_entropy_and_dice(setting: Setting, shape: tuple[int, int, int, int]) -> Row:
    """In one pass of a criterion, without a one-hot tensor."""
    logits, labels = class_maps(setting, (2, 19, 16, 16) if setting.quick else shape)
    criterion = SegmentationCriterion({"cross_entropy": 1.0, "dice": 1.0})
    others: dict[str, Variant] = {
        "one-hot formula": formula(lambda: formulas.one_hot_cross_entropy_and_dice(logits, labels))
    }
    if kind := setting.peers.find("monai.losses", "DiceCELoss"):
        combined = kind(to_onehot_y=True, softmax=True, smooth_nr=0.0, smooth_dr=1e-8)
        others["MONAI"] = peer(lambda: combined(logits, labels.unsqueeze(1)))
    others["plain cross entropy"] = formula(lambda: F.cross_entropy(logits, labels), differs="no Dice")
    return Row(
        f"{dims(*logits.shape)} logits, labels",
        lambda: criterion(logits, labels).total,
        logits,
        others=others,
        least_bytes=least_traffic(logits, labels),
    )


def six_losses(setting: Setting, shape: tuple[int, int, int, int]) -> Row:
    """One read of the logits against six."""
    logits, labels = class_maps(setting, (2, 19, 16, 16) if setting.quick else shape)
    criterion = SegmentationCriterion(dict.fromkeys(SIX, 1.0))
    modules = [kind() for kind in SIX.values()]
    return Row(
        f"{dims(*logits.shape)} logits, labels",
        lambda: criterion(logits, labels).total,
        logits,
        options={"matchloss, one by one": lambda: torch.stack([module(logits, labels) for module in modules]).sum()},
        least_bytes=least_traffic(logits, labels),
    )


def lovasz(setting: Setting, shape: tuple[int, int, int, int]) -> Row:
    """Kornia scores each image by itself; so does ours here, to compare like with like."""
    logits, labels = class_maps(setting, (2, 19, 16, 16) if setting.quick else shape)
    others: dict[str, Variant] = {}
    if theirs := setting.peers.find("kornia.losses", "lovasz_softmax_loss"):
        others["kornia"] = peer(lambda: theirs(logits, labels))
    if kind := setting.peers.find("segmentation_models_pytorch.losses", "LovaszLoss"):
        of_smp = kind(mode="multiclass", per_image=True)
        others["segmentation-models-pytorch"] = peer(lambda: of_smp(logits, labels))
    whole = "sorts all images together"
    others["formula as published"] = formula(lambda: formulas.sorted_lovasz(logits, labels), differs=whole)
    others["matchloss, all images together"] = Variant(lambda: lovasz_softmax_loss(logits, labels), "ours", whole)
    return Row(
        f"{dims(*logits.shape)} logits, labels",
        lambda: lovasz_softmax_loss(logits, labels, per_image=True, classes="all"),
        logits,
        others=others,
    )


def giou(setting: Setting, count: int) -> Row:
    """What the peers add to areas does not show at this size."""
    return _pairs(setting, count, giou_loss, formulas.written_out_giou, "generalized_box_iou_loss", "GIoU")


def ciou(setting: Setting, count: int) -> Row:
    """The same pairs."""
    return _pairs(setting, count, ciou_loss, formulas.written_out_ciou, "complete_box_iou_loss", "CIoU")


def _pairs(
    setting: Setting,
    count: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    written_out: Callable[[Tensor, Tensor], Tensor],
    of_torchvision: str,
    of_ultralytics: str,
) -> Row:
    """A box loss beside the two libraries, by the names that these have for it."""
    boxes, targets = box_pairs(setting, 2000 if setting.quick else count)
    others: dict[str, Variant] = {"written-out formula": formula(lambda: written_out(boxes, targets))}
    if theirs := setting.peers.find("torchvision.ops", of_torchvision):
        others["torchvision"] = peer(lambda: theirs(boxes, targets, reduction="mean"))
    if overlap := setting.peers.find("ultralytics.utils.metrics", "bbox_iou"):
        kind = {of_ultralytics: True}
        others["Ultralytics"] = peer(lambda: (1 - overlap(boxes, targets, xywh=False, **kind)).mean())
    traffic = least_traffic(boxes, targets)
    return Row(f"{len(boxes)} pairs", lambda: loss(boxes, targets), boxes, others=others, least_bytes=traffic)

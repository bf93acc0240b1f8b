"""Who else has a loss of the catalogue, and how it is called there."""

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .peers import Peers
from .rows import Loss, Variant, formula, peer
from .scenes import one_hot

POOLED = "one overlap of the whole batch"
SMOOTH = "adds a smoothing constant"
MONAI, SMP = "monai.losses", "segmentation_models_pytorch.losses"

OF_TORCH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy_loss": F.cross_entropy,
    "l1_loss": F.l1_loss,
    "l2_loss": F.mse_loss,
    "smooth_l1_loss": F.smooth_l1_loss,
}
EXACT = {"smooth_nr": 0.0, "smooth_dr": 1e-8}
OF_MONAI: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "dice": ("DiceLoss", EXACT, ""),
    "jaccard": ("DiceLoss", {"jaccard": True} | EXACT, ""),
    "tversky": ("TverskyLoss", {"alpha": 0.3, "beta": 0.7} | EXACT, ""),
    "generalized_dice": ("GeneralizedDiceLoss", EXACT, ""),
    "boundary": ("BoundaryLoss", {}, ""),
    "hausdorff": ("HausdorffDTLoss", {"include_background": True}, ""),
    "soft_cldice": ("SoftclDiceLoss", {}, "one skeleton for all classes"),
}
"""Name without its activation -> class, options, why its value differs."""
SOFTMAX_WITHOUT_PREFIX = ("boundary_loss", "hausdorff_loss", "soft_cldice_loss")
OF_SMP: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "dice": ("DiceLoss", {}, POOLED),
    "jaccard": ("JaccardLoss", {}, POOLED),
    "tversky": ("TverskyLoss", {"alpha": 0.3, "beta": 0.7}, POOLED),
    "focal_tversky": ("TverskyLoss", {"alpha": 0.3, "beta": 0.7, "gamma": 4 / 3}, POOLED),
}


def peers_of(name: str, peers: Peers, first: Tensor, second: Tensor, scores: Tensor | None) -> dict[str, Variant]:
    """All that can be imported, torch's own functions first."""
    found: dict[str, Variant] = {}
    if name in OF_TORCH:
        found["torch"] = formula(lambda: OF_TORCH[name](first, second))
    if name == "binary_cross_entropy_loss":
        dense = one_hot(second, first.shape[-1], 1.0 if scores is None else scores).to(first.dtype)
        found["torch"] = formula(lambda: F.binary_cross_entropy_with_logits(first, dense))
    for activation in ("softmax", "sigmoid"):
        if name.startswith(f"{activation}_") or (activation == "softmax" and name in SOFTMAX_WITHOUT_PREFIX):
            stem = name.removeprefix(f"{activation}_").removesuffix("_loss")
            found |= _region_peers(stem, activation, peers, first, second)
    if name in OWN:
        found |= OWN[name](peers, first, second)
    return found


def _region_peers(stem: str, activation: str, peers: Peers, logits: Tensor, targets: Tensor) -> dict[str, Variant]:
    found: dict[str, Variant] = {}
    softmax = activation == "softmax"
    if stem in OF_MONAI:
        name, options, differs = OF_MONAI[stem]
        if kind := peers.find(MONAI, name):
            loss = kind(softmax=softmax, sigmoid=not softmax, to_onehot_y=softmax, **options)
            found["MONAI"] = peer(lambda: loss(logits, targets.unsqueeze(1) if softmax else targets), differs)
    if stem in OF_SMP:
        name, options, differs = OF_SMP[stem]
        if kind := peers.find(SMP, name):
            other = kind(mode="multiclass" if softmax else "multilabel", **options)
            found["segmentation-models-pytorch"] = peer(lambda: other(logits, targets), differs)
    return found


def _dice(peers: Peers, logits: Tensor, labels: Tensor) -> dict[str, Variant]:
    theirs = peers.find("kornia.losses", "dice_loss")
    return {"kornia": peer(lambda: theirs(logits, labels, average="macro"))} if theirs else {}


def _tversky(peers: Peers, logits: Tensor, labels: Tensor) -> dict[str, Variant]:
    theirs = peers.find("kornia.losses", "tversky_loss")
    return {"kornia": peer(lambda: theirs(logits, labels, 0.3, 0.7))} if theirs else {}


def _softmax_focal(peers: Peers, logits: Tensor, labels: Tensor) -> dict[str, Variant]:
    """Their means are over pixels and classes; kornia's sum is one, MONAI's a mean over the pixels of an image."""
    found: dict[str, Variant] = {}
    images, pixels = len(labels), labels.numel()
    if of_kornia := peers.find("kornia.losses", "focal_loss"):
        found["kornia"] = peer(lambda: of_kornia(logits, labels, alpha=None, gamma=2.0, reduction="sum") / pixels)
    if kind := peers.find(MONAI, "FocalLoss"):
        of_monai = kind(gamma=2.0, use_softmax=True, to_onehot_y=True, reduction="sum")
        found["MONAI"] = peer(lambda: of_monai(logits, labels.unsqueeze(1)) / images)
    if kind := peers.find(SMP, "FocalLoss"):
        of_smp = kind(mode="multiclass")
        found["segmentation-models-pytorch"] = peer(lambda: of_smp(logits, labels), "a sigmoid for each class")
    return found


def _lovasz_hinge(peers: Peers, logits: Tensor, targets: Tensor) -> dict[str, Variant]:
    found: dict[str, Variant] = {}
    if theirs := peers.find("kornia.losses", "lovasz_hinge_loss"):
        labels = targets.long()
        found["kornia"] = peer(lambda: theirs(logits.unsqueeze(1), labels), "each image by itself")
    if kind := peers.find(SMP, "LovaszLoss"):
        loss = kind(mode="binary", per_image=False)
        found["segmentation-models-pytorch"] = peer(lambda: loss(logits, targets))
    return found


def _boxes(switch: str | None, of_torchvision: str = "") -> Callable[[Peers, Tensor, Tensor], dict[str, Variant]]:
    def found(peers: Peers, boxes: Tensor, targets: Tensor) -> dict[str, Variant]:
        both: dict[str, Variant] = {}
        if of_torchvision and (loss := peers.find("torchvision.ops", of_torchvision)):
            both["torchvision"] = peer(lambda: loss(boxes, targets, reduction="mean"))
        if overlap := peers.find("ultralytics.utils.metrics", "bbox_iou"):
            kind = {switch: True} if switch else {}
            both["Ultralytics"] = peer(lambda: (1 - overlap(boxes, targets, xywh=False, **kind)).mean())
        return both

    return found


def _probiou(peers: Peers, boxes: Tensor, targets: Tensor) -> dict[str, Variant]:
    theirs = peers.find("ultralytics.utils.metrics", "probiou")
    return {"Ultralytics": peer(lambda: (1 - theirs(boxes, targets)).mean(), SMOOTH)} if theirs else {}


def _distribution_focal(peers: Peers, logits: Tensor, targets: Tensor) -> dict[str, Variant]:
    kind = peers.find("ultralytics.utils.loss", "DFLoss")
    if kind is None:
        return {}
    theirs = kind(logits.shape[1])
    call: Loss = lambda: theirs(logits, targets.unsqueeze(1)).mean()  # noqa: E731
    return {"Ultralytics": peer(call)}


OWN: dict[str, Callable[[Peers, Tensor, Tensor], dict[str, Variant]]] = {
    "softmax_dice_loss": _dice,
    "softmax_tversky_loss": _tversky,
    "softmax_focal_loss": _softmax_focal,
    "lovasz_hinge_loss": _lovasz_hinge,
    "iou_loss": _boxes(None),
    "diou_loss": _boxes("DIoU", "distance_box_iou_loss"),
    "probiou_loss": _probiou,
    "distribution_focal_loss": _distribution_focal,
}

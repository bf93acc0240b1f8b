"""What a set matching reads: the queries of a batch beside its targets, checked and widened."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import check_float, compute_dtype
from ..geometry import cxcywh_boxes
from ..geometry.rotated_targets import Size, rotated_fractions, size_of
from ..types import Targets
from ._targets import check_labels, check_targets


class Queries(NamedTuple):
    """Predictions of a batch; leading dimensions, such as decoder layers, stand before it."""

    logits: Tensor
    """``(..., B, Q, C)``; with softmax the last one is for no object."""
    boxes: Tensor
    """``(..., B, Q, 4)`` cxcywh in fractions of the image, or ``(..., B, Q, 5)`` with an angle."""
    labels: Tensor
    """``(B, M)`` int64 in range."""
    target_boxes: Tensor
    """``(B, M, 4 or 5)`` in fractions of the image; zeros where a target is not matchable."""
    matchable: Tensor
    """``(B, M)`` bool: an object of a known class with a proper, finite box."""
    image_size: Size | None
    """``(H, W)`` where boxes are rotated, None else."""


def read_queries(caller: str, logits: Tensor, boxes: Tensor, targets: Targets, num_classes: int) -> Queries:
    """Check shapes, widen half precision, and mark what can be matched."""
    check_shapes(caller, logits, boxes, targets)
    dtype = compute_dtype(boxes)
    rotated = boxes.shape[-1] == 5
    target_boxes = rotated_fractions(caller, targets) if rotated else cxcywh_boxes(caller, targets)
    target_boxes = target_boxes.detach().to(dtype)
    proper = target_boxes.isfinite().all(-1) & (target_boxes[..., 2:4] >= 0).all(-1)
    objects = targets.valid & ~targets.ignore
    check_labels(caller, torch.where(objects, targets.labels, 0), num_classes)
    known = (targets.labels >= 0) & (targets.labels < num_classes)
    matchable = objects & proper & known
    return Queries(
        logits=logits.detach().to(dtype),
        boxes=boxes.detach().to(dtype),
        labels=targets.labels.clamp(0, num_classes - 1),
        target_boxes=torch.where(matchable.unsqueeze(-1), target_boxes, 0.0),
        matchable=matchable,
        image_size=size_of(caller, targets) if rotated else None,
    )


def check_shapes(caller: str, logits: Tensor, boxes: Tensor, targets: Targets) -> None:
    """Reject predictions that are not of one batch with the targets."""
    check_float(caller, "logits", logits)
    check_float(caller, "boxes", boxes)
    if logits.ndim < 3 or logits.shape[-1] == 0:
        raise ValueError(f"{caller}: expected logits of shape (..., B, Q, C) with C >= 1, got {tuple(logits.shape)}")
    wanted = (*logits.shape[:-1], 5 if targets.box_format == "cxcywha" else 4)
    if boxes.shape not in (wanted, (*wanted[:-1], 5)):  # upright targets have the angle 0
        raise ValueError(f"{caller}: expected boxes of shape {wanted}, got {tuple(boxes.shape)}")
    if len(targets.labels) != logits.shape[-3]:
        raise ValueError(f"{caller}: expected targets of {logits.shape[-3]} images, got {len(targets.labels)}")
    check_targets(caller, targets)

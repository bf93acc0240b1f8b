"""The losses of a query set, each as a sum a layer, before any division."""

from typing import Literal

import torch
from torch import Tensor, nn

from .._core import to_compute
from ..geometry import covered_by_regions, cxcywh_boxes, cxcywh_to_xyxy
from ..geometry.rotated_regions import covered_by_rotated_regions
from ..geometry.rotated_targets import angles_apart, rotated_pixels, rotated_to_pixels
from ..losses import CrossEntropyLoss, giou_loss, l1_loss
from ..types import Assignment, Matching
from ._class_rows import EXCLUSIVE_LOSSES, class_rows
from ._query_sets import NamedSet
from ._set_rows import Rows, take

Scores = Literal["hard", "iou"]


@torch.no_grad()
def set_assignment(named: NamedSet, matching: Matching, rows: Rows, scores: Scores, coverage: float) -> Assignment:
    """What the class loss wants of each query, ``(L, B, Q)``; ignored ones are to cost nothing.

    Args:
        named: the query set.
        matching: its matching.
        rows: of its pairs.
        scores: the soft class target of a matched query: 1, or the IoU of its box.
        coverage: fraction of an unmatched query's box that lies in an ignore region, from which on it is ignored.
    """
    index = matching.target_of_query
    positive = index >= 0
    labels = torch.where(positive, take(named.targets.labels.unsqueeze(0), index.clamp(min=0)), -1)
    soft = positive.to(rows.iou.dtype) if scores == "hard" else _iou_of_queries(rows, index)
    ignore = ~positive & _in_ignore_regions(named, rows, coverage)
    if named.queries.counted is not None:
        ignore = ignore | ~named.queries.counted
    return Assignment(index, labels, soft, ignore)


def _in_ignore_regions(named: NamedSet, rows: Rows, coverage: float) -> Tensor:
    """``(L, B, Q)``: whether an ignore region covers this fraction of the query's box."""
    boxes, crowds = to_compute(named.queries.boxes), named.targets.valid & named.targets.ignore
    if rows.image_size is not None:
        regions = rotated_pixels("SetCriterion", named.targets)
        return covered_by_rotated_regions(rotated_to_pixels(boxes, rows.image_size), regions, crowds, least=coverage)
    regions = cxcywh_to_xyxy(cxcywh_boxes("SetCriterion", named.targets))
    return covered_by_regions(cxcywh_to_xyxy(boxes), regions, crowds, least=coverage)


def _iou_of_queries(rows: Rows, target_of_query: Tensor) -> Tensor:
    """``(L, B, Q)``; a query that shares in a target as well has the IoU with its own one."""
    queries = target_of_query.shape[-1]
    own = rows.real & (target_of_query.gather(2, rows.query) == rows.target)
    # What is no pair writes into a column more, which is cut off.
    place = torch.where(own, rows.query, queries)
    spread = rows.iou.new_zeros(*target_of_query.shape[:2], queries + 1)
    return spread.scatter(2, place, rows.iou)[..., :queries]


def class_sums(module: nn.Module, named: NamedSet, assignment: Assignment) -> tuple[Tensor, Tensor]:
    """``(L,)`` sums of the class loss over the queries, and ``(L,)`` the class weights that they have in sum.

    A target's weight multiplies the loss of its query and leaves the divisor alone.
    """
    index, shape = assignment.target_index, assignment.target_index.shape
    flat = Assignment(*(part.flatten(0, 1) for part in assignment))
    rows = class_rows(module, named.queries.logits.flatten(0, 1), flat, flat.scores).reshape(shape)
    weights = take(named.targets.weights.unsqueeze(0), index.clamp(min=0)).to(rows.dtype)
    sums = torch.where(index >= 0, rows * weights, rows).sum((1, 2))
    return sums, _class_weights(module, assignment).sum((1, 2))


@torch.no_grad()
def _class_weights(module: nn.Module, assignment: Assignment) -> Tensor:
    """``(L, B, Q)`` weight of each query's class in the divisor of a mean, as torch's cross entropy has it."""
    counted = (~assignment.ignore).to(assignment.scores.dtype)
    if not isinstance(module, CrossEntropyLoss) or module.class_weights is None:
        return counted
    no_object = len(module.class_weights) - 1
    labels = torch.where(assignment.labels >= 0, assignment.labels, no_object)
    return counted * module.class_weights[labels]


def box_sums(rows: Rows, rotated_loss: nn.Module) -> dict[str, Tensor]:
    """``(L,)`` sums of L1, over the numbers of a box, and of the GIoU loss or that of rotated boxes."""
    coordinates, target_coordinates = rows.boxes[..., :4], rows.target_boxes[..., :4]
    l1 = l1_loss(coordinates, target_coordinates, mask=rows.real.unsqueeze(-1), reduction="none").sum(-1)
    if rows.image_size is None:
        corners, target_corners = cxcywh_to_xyxy(rows.boxes), cxcywh_to_xyxy(rows.target_boxes)
        giou = giou_loss(corners, target_corners, mask=rows.real, reduction="none")
        return {"l1": (l1 * rows.weights).sum((1, 2)), "giou": (giou * rows.weights).sum((1, 2))}
    angle, target_angle = (torch.where(rows.real, boxes[..., 4], 0.0) for boxes in (rows.boxes, rows.target_boxes))
    l1 = l1 + angles_apart(angle, target_angle) / torch.pi
    pixels, target_pixels = (rotated_to_pixels(boxes, rows.image_size) for boxes in (rows.boxes, rows.target_boxes))
    rotated = rotated_loss(pixels, target_pixels, mask=rows.real)
    return {"l1": (l1 * rows.weights).sum((1, 2)), "rotated": (rotated * rows.weights).sum((1, 2))}


@torch.no_grad()
def set_stats(module: nn.Module, named: NamedSet, assignment: Assignment, rows: Rows) -> dict[str, Tensor]:
    """What a log wants to know of the first layer of a set."""
    logits, labels = named.queries.logits[0], assignment.labels[0]
    objects = (named.targets.valid & ~named.targets.ignore).sum(1)
    matched = labels >= 0
    pairs = matched.sum()
    wrong = (matched & (logits.argmax(-1) != labels)).sum()
    return {
        "cardinality_error": cardinality_error(logits, objects, exclusive=isinstance(module, EXCLUSIVE_LOSSES)),
        "class_error": 100 * wrong / pairs.clamp(min=1),
        "targets": objects.sum(),
        "surplus": (objects - logits.shape[1]).clamp(min=0).sum(),
        "matched": pairs,
        "ignored": assignment.ignore[0].sum(),
        "mean_iou": rows.iou[0].sum() / rows.real[0].sum().clamp(min=1),
    }


@torch.no_grad()
def cardinality_error(logits: Tensor, objects: Tensor, *, exclusive: bool) -> Tensor:
    """By how many the queries ``(B, Q, C)`` that say "object" miss the number of objects ``(B,)``; the images' mean.

    Exclusive classes say it by any class but the last, others by a probability above one half.
    """
    found = logits.argmax(-1) != logits.shape[-1] - 1 if exclusive else logits.amax(-1) > 0
    return (found.sum(1) - objects).abs().float().mean()

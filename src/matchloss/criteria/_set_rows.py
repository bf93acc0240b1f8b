"""A query set beside its targets: who is matched with whom, and what is compared."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._core import to_compute
from ..assigners import HungarianAssigner
from ..geometry import box_iou, cxcywh_boxes, cxcywh_to_xyxy, rotated_box_iou
from ..geometry.rotated_targets import Size, rotated_fractions, rotated_to_pixels, size_of
from ..types import Matching, Targets
from ._query_sets import NamedSet

Assigner = Callable[[Tensor, Tensor, Targets], Matching]


class Rows(NamedTuple):
    """Queries beside targets, R rows an image; those that are not real count for nothing.

    A row a target where each has one query; a row a query where it is known which target each of them has.
    """

    query: Tensor
    """``(L, B, R)`` int64, 0 where not real."""
    target: Tensor
    """``(L, B, R)`` int64, 0 where not real."""
    real: Tensor
    """``(L, B, R)`` bool."""
    boxes: Tensor
    """``(L, B, R, 4 or 5)`` of the model, with a gradient; widened, or corners would be rounded to half precision."""
    target_boxes: Tensor
    """``(L, B, R, 4 or 5)`` cxcywh in fractions, and of rotated boxes the angle."""
    weights: Tensor
    """``(L, B, R)`` of the targets, 0 where not real."""
    iou: Tensor
    """``(L, B, R)`` without a gradient, 0 where not real."""
    image_size: Size | None
    """``(H, W)`` where boxes are rotated, None else."""


@torch.no_grad()
def match_set(assigner: Assigner, named: NamedSet) -> Matching:
    """Match, or take what is known beforehand; then several queries may have one target, and `stats` is empty."""
    queries = named.queries
    if queries.target_of_query is None:
        if isinstance(assigner, HungarianAssigner) and assigner.uses_masks:
            return assigner(queries.logits, queries.boxes, named.targets, masks=queries.masks)
        return assigner(queries.logits, queries.boxes, named.targets)
    objects = named.targets.valid & ~named.targets.ignore
    index, last = queries.target_of_query, objects.shape[1] - 1
    real = (index >= 0) & (index <= last) & objects.gather(1, index.clamp(0, last))
    target_of_query = torch.where(real, index, -1).expand(queries.logits.shape[:3])
    nobody = torch.full_like(named.targets.labels, -1).expand(len(target_of_query), -1, -1)
    return Matching(nobody, target_of_query, {})


def take_rows(named: NamedSet, matching: Matching) -> Rows:
    """Gather what is compared."""
    query, target = _indices(named, matching)
    real = (query >= 0) & (target >= 0)
    if named.queries.counted is not None:
        counted = named.queries.counted.expand(query.shape[0], -1, -1)
        real = real & counted.gather(2, query.clamp(min=0))
    query, target = torch.where(real, query, 0), torch.where(real, target, 0)
    boxes = to_compute(take(named.queries.boxes, query))
    image_size = size_of("SetCriterion", named.targets) if boxes.shape[-1] == 5 else None
    read = cxcywh_boxes if image_size is None else rotated_fractions
    target_boxes = take(read("SetCriterion", named.targets).unsqueeze(0), target).to(boxes.dtype)
    weights = torch.where(real, take(named.targets.weights.unsqueeze(0), target), 0.0).to(boxes.dtype)
    iou = torch.where(real, _iou(boxes, target_boxes, image_size), 0.0)
    return Rows(query, target, real, boxes, target_boxes, weights, iou, image_size)


@torch.no_grad()
def _iou(boxes: Tensor, target_boxes: Tensor, image_size: Size | None) -> Tensor:
    if image_size is None:
        return box_iou(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target_boxes))
    return rotated_box_iou(rotated_to_pixels(boxes, image_size), rotated_to_pixels(target_boxes, image_size))


def _indices(named: NamedSet, matching: Matching) -> tuple[Tensor, Tensor]:
    """Query and target of each row, -1 where there is none."""
    if named.queries.target_of_query is None:
        targets = torch.arange(matching.query_of_target.shape[-1], device=matching.query_of_target.device)
        return matching.query_of_target, targets.expand_as(matching.query_of_target)
    queries = torch.arange(matching.target_of_query.shape[-1], device=matching.target_of_query.device)
    return queries.expand_as(matching.target_of_query), matching.target_of_query


def take(values: Tensor, index: Tensor) -> Tensor:
    """Of values ``(L or 1, B, N, ...)`` those at ``index (L, B, R)``, which is not negative."""
    extra = values.shape[3:]
    index = index.reshape(*index.shape, *[1] * len(extra)).expand(*index.shape, *extra)
    return values.expand(index.shape[0], *values.shape[1:]).gather(2, index)

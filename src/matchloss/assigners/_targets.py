"""What all assigners share: which targets may match, which places are ignored, and the gathered result."""

from typing import NamedTuple

import torch
from torch import Tensor

from .._core import check_float, check_same_shape
from ..geometry import covered_by_regions, nothing_set, target_chunks, xyxy_boxes
from ..geometry.rotated_targets import rotated_pixels
from ..types import Assignment, Targets
from ._box_kinds import inside as inside_of, is_proper


class ReadTargets(NamedTuple):
    """Targets as assigners use them."""

    boxes: Tensor
    """``(B, M, 4)`` xyxy in pixels, or ``(B, M, 5)`` rotated; zeros where not finite."""
    labels: Tensor
    """``(B, M)`` int64."""
    matchable: Tensor
    """``(B, M)`` bool: an object, neither padding nor an ignore region, with finite coordinates, not inverted."""
    ignored: Tensor
    """``(B, M)`` bool: an ignore region."""


def read_targets(caller: str, targets: Targets, dtype: torch.dtype, *, rotated: bool = False) -> ReadTargets:
    """Boxes in pixels and of one dtype, with the rows that count."""
    if targets.box_format == "cxcywha" and not rotated:
        matched_by = "TaskAlignedAssigner and HungarianAssigner match rotated ones"
        raise ValueError(f"{caller}: expected upright targets, xyxy or cxcywh, got cxcywha; {matched_by}")
    boxes = (rotated_pixels if rotated else xyxy_boxes)(caller, targets).detach().to(dtype)
    finite = boxes.isfinite().all(-1)
    return ReadTargets(
        boxes=torch.where(finite[..., None], boxes, 0.0),  # a NaN here would spread through sums and sorts
        labels=targets.labels,
        matchable=targets.valid & ~targets.ignore & finite & is_proper(boxes),
        ignored=targets.valid & targets.ignore & finite,
    )


def in_ignore_regions(read: ReadTargets, points: Tensor) -> Tensor:
    """``(B, A)``: whether each of the points ``(A, 2)`` or ``(B, A, 2)`` lies in an ignore region of its image."""
    batch, targets = read.ignored.shape
    inside = read.ignored.new_zeros(batch, points.shape[-2])
    if nothing_set(read.ignored):
        return inside
    for chunk in target_chunks(batch, targets, points.shape[-2]):
        hit = inside_of(points.unsqueeze(-3), read.boxes[:, chunk, None])
        inside = inside | (hit & read.ignored[:, chunk, None]).any(1)
    return inside


def covered_by_ignore_regions(read: ReadTargets, boxes: Tensor, least: float) -> Tensor:
    """``(B, A)``: whether an ignore region covers at least this fraction of each of the boxes ``(A, 4)``."""
    return covered_by_regions(boxes.expand(len(read.ignored), -1, -1), read.boxes, read.ignored, least=least)


def check_columns(caller: str, name: str, values: Tensor, rows: str, columns: int) -> None:
    """Reject what is no float tensor of shape (rows, columns); ``rows`` may name several dimensions."""
    check_float(caller, name, values)
    if values.ndim != len(rows.split(", ")) + 1 or values.shape[-1] != columns:
        raise ValueError(f"{caller}: expected {name} of shape ({rows}, {columns}), got {tuple(values.shape)}")


def check_targets(caller: str, targets: Targets) -> None:
    """Reject targets of which some parts have more rows than others: a kernel would read beyond them."""
    labels, valid, ignore, numbers = targets.labels, targets.valid, targets.ignore, targets.boxes[..., 0]
    check_same_shape(caller, {"labels": labels, "valid": valid, "ignore": ignore, "one number of the boxes": numbers})


def check_labels(caller: str, labels: Tensor, classes: int) -> None:
    """On the CPU alone, where a look at the values costs no sync; elsewhere such a target is not matched."""
    if labels.device.type != "cpu" or labels.numel() == 0 or torch.compiler.is_compiling():
        return
    low, high = (int(value) for value in labels.aminmax())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise ValueError(f"{caller}: expected labels of targets in [0, {classes}), got {wrong}")


def check_count(caller: str, name: str, value: object) -> None:
    """Reject what is no whole number of at least 1."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{caller}: expected {name} to be a whole number >= 1, got {value!r}")


def to_assignment(read: ReadTargets, target_index: Tensor, scores: Tensor, ignore: Tensor) -> Assignment:
    """Gather the labels of ``target_index (B, A)``, -1 for background; a positive is never ignored.

    Args:
        read: the targets.
        target_index: (B, A) int64.
        scores: (B, A) soft class targets; what stands at background does not count.
        ignore: (B, A) bool; what stands at positives does not count.
    """
    positive = target_index >= 0
    labels = torch.full_like(target_index, -1)
    if read.labels.shape[1]:
        labels = torch.where(positive, read.labels.gather(1, target_index.clamp(min=0)), -1)
    return Assignment(target_index, labels, torch.where(positive, scores, 0.0), ignore & ~positive)

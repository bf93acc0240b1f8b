"""Rows of the assigners of dense detectors. None has a gradient; the value is the sum of the scores, or of places."""

import torch
from torch import Tensor

from ..assigners import ATSSAssigner, MaxIoUAssigner, SimOTAAssigner, TaskAlignedAssigner
from ..geometry import grid_anchors
from ..types import Assignment
from .detection_scenes import CLASSES, STRIDES, dense_scene, square_targets, targets_to
from .rows import Row, Variant, dims, peer
from .setting import Setting


def task_aligned(setting: Setting, images: int, count: int, side: int = 640) -> Row:
    """YOLOv8's rule, beside Ultralytics' own assigner."""
    images, count, side = (2, min(count, 5), 64) if setting.quick else (images, count, side)
    points, _, scores, boxes, targets = dense_scene(setting, images, count, side)
    assigner = TaskAlignedAssigner.yolov8()
    others: dict[str, Variant] = {}
    if kind := setting.peers.find("ultralytics.utils.tal", "TaskAlignedAssigner"):
        theirs = kind(topk=10, num_classes=CLASSES, alpha=0.5, beta=6.0, stride=list(STRIDES))
        described = targets.labels.unsqueeze(-1), targets.boxes, targets.valid.unsqueeze(-1).float()
        others["Ultralytics"] = peer(
            lambda: theirs(scores, boxes, points, *described)[2].sum(), differs="ties at a metric of 0 are free"
        )
    return Row(
        f"{dims(*scores.shape)} scores, {count} targets",
        lambda: assigner(scores, boxes, points, targets).scores.sum(),
        None,
        others=others,
        plain=images * count <= 16 * 150,
    )


def sim_ota(setting: Setting, images: int, count: int) -> Row:
    """The dynamic number of positives of YOLOX."""
    images, count, side = (2, 5, 64) if setting.quick else (images, count, 640)
    points, strides, scores, boxes, targets = dense_scene(setting, images, count, side)
    assigner = SimOTAAssigner()
    size = f"{dims(*scores.shape)} scores, {count} targets"
    return Row(size, lambda: assigner(scores, boxes, points, targets, strides=strides).scores.sum(), None)


def max_iou(setting: Setting, images: int, count: int) -> Row:
    """RetinaNet's anchors, nine a cell, beside torchvision's matcher in a loop over images."""
    images, count, side = (2, 5, 64) if setting.quick else (images, count, 640)
    grid = grid_anchors([(side // stride,) * 2 for stride in STRIDES], STRIDES)
    anchors = setting.to_device(grid)
    targets = targets_to(square_targets(setting, images, count, side), setting.device)
    assigner = MaxIoUAssigner(conflict="own")
    others: dict[str, Variant] = {}
    matcher_kind = setting.peers.find("torchvision.models.detection._utils", "Matcher")
    overlap = setting.peers.find("torchvision.ops", "box_iou")
    if matcher_kind and overlap:
        matcher = matcher_kind(0.5, 0.4, allow_low_quality_matches=True)

        def theirs() -> Tensor:
            found = [matcher(overlap(boxes, anchors)) for boxes in targets.boxes.unbind()]
            return _places(torch.stack(found).clamp(min=-1))

        others["torchvision"] = peer(theirs)
    size = f"{images} x {len(anchors)} anchors, {count} targets"
    return Row(size, lambda: _places(assigner(anchors, targets).target_index), None, others=others)


def atss(setting: Setting, images: int, count: int) -> Row:
    """One anchor a cell."""
    images, count, side = (2, 5, 64) if setting.quick else (images, count, 640)
    sizes = [(side // stride,) * 2 for stride in STRIDES]
    anchors = setting.to_device(grid_anchors(sizes, STRIDES, scales=[8.0], ratios=[1.0]))
    targets = targets_to(square_targets(setting, images, count, side), setting.device)
    counts, assigner = [height * width for height, width in sizes], ATSSAssigner()

    def ours() -> Tensor:
        assignment: Assignment = assigner(anchors, counts, targets)
        return _places(assignment.target_index)

    return Row(f"{images} x {len(anchors)} anchors, {count} targets", ours, None)


def _places(index: Tensor) -> Tensor:
    """One number that tells assignments apart."""
    return (index + 1).double().sum()

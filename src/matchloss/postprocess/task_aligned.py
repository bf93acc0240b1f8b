"""Detections of an anchor-free head: :func:`decode_task_aligned`."""

from collections.abc import Sequence
from typing import Literal

import torch

from .._core import check_option, to_compute
from ..geometry import Levels, boxes_from_distances, expected_distances, flatten_levels, grid_points
from ..types import Detections
from .select import Criterion, select_detections


@torch.no_grad()
def decode_task_aligned(
    levels: Levels,
    strides: Sequence[float],
    *,
    image_size: tuple[int, int] | None = None,
    activation: Literal["sigmoid", "softmax"] = "sigmoid",
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    nms: Criterion = "iou",
    candidates: int = 1000,
    max_detections: int = 100,
) -> Detections:
    """Turn the outputs that :class:`~matchloss.criteria.TaskAlignedCriterion` trains into detections.

    Args:
        levels: as the criterion takes them.
        strides: pixels of a cell, one a level.
        image_size: (H, W), at whose border boxes are cut; needed for flattened outputs without sizes.
        activation: "softmax" where the last logit is for background.
        score_threshold, iou_threshold, nms, candidates, max_detections: see :func:`select_detections`.

    Example:
        One cell says class 1 and a box of one cell (8 pixels) to each side:

        >>> level = {"logits": torch.tensor([-9.0, 2.0]).view(1, 2, 1, 1), "distances": torch.ones(1, 4, 1, 1)}
        >>> found = decode_task_aligned([level], [8])
        >>> found.boxes[0, 0], found.labels[0, 0], found.scores[0, 0]
        (tensor([-4., -4., 12., 12.]), tensor(1), tensor(0.8808))
    """
    check_option("decode_task_aligned", "activation", activation, ("sigmoid", "softmax"))
    logits, sides, sizes = flatten_levels("decode_task_aligned", levels, "distances", strides, image_size=image_size)
    points = grid_points(sizes, strides, device=sides.device)
    boxes = boxes_from_distances(points.centers, expected_distances(sides) * points.strides[:, None])
    logits = to_compute(logits)
    return select_detections(
        logits.sigmoid() if activation == "sigmoid" else logits.softmax(-1)[..., :-1],
        boxes,
        image_size=image_size,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        nms=nms,
        candidates=candidates,
        max_detections=max_detections,
    )

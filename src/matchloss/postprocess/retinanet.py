"""Detections of a head with anchors: :func:`decode_retinanet`."""

from collections.abc import Sequence

import torch

from .._core import to_compute
from ..geometry import OCTAVE_SCALES, SIDE_RATIOS, Levels, decode_deltas, flatten_levels, grid_anchors
from ..types import Detections
from .select import Criterion, select_detections


@torch.no_grad()
def decode_retinanet(
    levels: Levels,
    strides: Sequence[float],
    *,
    scales: Sequence[float] = OCTAVE_SCALES,
    ratios: Sequence[float] = SIDE_RATIOS,
    image_size: tuple[int, int] | None = None,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    nms: Criterion = "iou",
    candidates: int = 1000,
    max_detections: int = 100,
) -> Detections:
    """Turn the outputs that :class:`~matchloss.criteria.RetinaNetCriterion` trains into detections.

    Args:
        levels: as the criterion takes them.
        strides, scales, ratios: those of the criterion.
        image_size: (H, W), at whose border boxes are cut; needed for flattened outputs without sizes.
        score_threshold, iou_threshold, nms, candidates, max_detections: see :func:`select_detections`.

    Example:
        An anchor of 8 pixels about the centre of the only cell, moved right by half its width:

        >>> level = {"logits": torch.full((1, 1, 1, 1), 2.0), "deltas": torch.tensor([0.5, 0, 0, 0]).view(1, 4, 1, 1)}
        >>> decode_retinanet([level], [8], scales=[1.0], ratios=[1.0]).boxes[0, 0]
        tensor([ 4.,  0., 12.,  8.])
    """
    logits, deltas, sizes = flatten_levels(
        "decode_retinanet", levels, "deltas", strides, per_point=len(scales) * len(ratios), image_size=image_size
    )
    anchors = grid_anchors(sizes, strides, scales=scales, ratios=ratios, device=deltas.device)
    return select_detections(
        to_compute(logits).sigmoid(),
        decode_deltas(deltas, anchors),
        image_size=image_size,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        nms=nms,
        candidates=candidates,
        max_detections=max_detections,
    )

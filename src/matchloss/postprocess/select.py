"""From scores and boxes of all predictions to the detections of an image: :func:`select_detections`."""

from typing import Literal

import torch
from torch import Tensor

from ..geometry import clip_boxes
from ..types import Detections
from .nms import non_maximum_suppression

Criterion = Literal["iou", "diou"]


@torch.no_grad()
def select_detections(
    scores: Tensor,
    boxes: Tensor,
    *,
    image_size: tuple[int, int] | None = None,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    nms: Criterion = "iou",
    candidates: int = 1000,
    max_detections: int = 100,
) -> Detections:
    """Keep the best detections of each image: threshold, top candidates, class-aware suppression, top again.

    A prediction may be several detections, one a class, as COCO's evaluation rewards.

    Args:
        scores: (B, A, C) probabilities.
        boxes: (B, A, 4) xyxy in pixels.
        image_size: (H, W) at whose border boxes are cut, or None.
        score_threshold: least probability, exclusive.
        iou_threshold: overlap above which the worse of two boxes of a class goes.
        nms: "iou", or "diou" to spare boxes whose centres lie apart, as in crowds.
        candidates: how many of the best pairs of prediction and class enter the suppression.
        max_detections: how many of an image are kept.

    Example:
        >>> boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 7.0], [20.0, 0.0, 28.0, 8.0]]])
        >>> found = select_detections(torch.tensor([[[0.9], [0.8], [0.3]]]), boxes)
        >>> found.scores[found.valid]
        tensor([0.9000, 0.3000])
    """
    classes = scores.shape[-1]
    flat = torch.where(scores.isfinite(), scores, -1.0).flatten(1)  # NaN would rank first
    best, index = flat.topk(min(candidates, flat.shape[1]), dim=1)
    labels = index % classes
    boxes = boxes.gather(1, (index // classes).unsqueeze(-1).expand(-1, -1, 4))
    if image_size is not None:
        boxes = clip_boxes(boxes, image_size)
    kept, valid = non_maximum_suppression(
        boxes,
        best,
        labels,
        threshold=iou_threshold,
        criterion=nms,
        score_threshold=score_threshold,
        max_detections=max_detections,
    )
    kept_boxes = boxes.gather(1, kept.unsqueeze(-1).expand(-1, -1, 4))
    return Detections(
        torch.where(valid.unsqueeze(-1), kept_boxes, 0.0),
        torch.where(valid, best.gather(1, kept), 0.0),
        torch.where(valid, labels.gather(1, kept), -1),
        valid,
    )

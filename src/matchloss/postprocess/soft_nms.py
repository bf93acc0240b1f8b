"""Suppression that lowers scores instead of dropping boxes: :func:`soft_nms`."""

from typing import Literal

import torch
from torch import Tensor

from .._core import check_option, check_positive, use_fast_path
from ..geometry import box_iou
from .nms import flat_inputs, usable_boxes

Decay = Literal["linear", "gaussian"]


@torch.no_grad()
def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None = None,
    *,
    method: Decay = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.3,
    score_threshold: float = 0.001,
    max_detections: int | None = None,
) -> Tensor:
    """Lower the score of every box by its overlap with the better boxes of its class.

        s_j <- s_j · exp(-IoU(i, j)² / sigma)   "gaussian";   s_j <- s_j · (1 - IoU(i, j)) if IoU > threshold   "linear"

    One after the other the best box i left is taken, and the scores of those left are lowered. For crowds, in which
    :func:`non_maximum_suppression` drops objects behind others. It takes one step a box: give it the best few hundred.

    Shapes:
        boxes: (..., N, 4) xyxy in any unit.
        scores: (..., N) probabilities; a box with a score or coordinate that is not finite is dropped.
        labels: (..., N) integers, or None: all boxes are of one class.
        returns: (..., N) new scores in the order of the boxes, 0 for those dropped, float32 (float64 for float64).

    Args:
        method: "gaussian" or "linear".
        sigma: width of the Gaussian, in (IoU)²; larger lowers less.
        threshold: up to here "linear" leaves scores alone.
        score_threshold: a box whose score falls to it or below is dropped.
        max_detections: how many boxes of an image are taken at most, the others being dropped; None for all.

    Raises:
        ValueError: shapes that do not fit, an unknown method, a number that is not positive.

    Reference:
        Bodla et al. 2017, arXiv:1704.04503, eq. 2 and 3.

    Differs:
        The paper's linear form starts at IoU = threshold, here above it, as in :func:`non_maximum_suppression`. Of
        equal scores the lower index is taken first. Classes do not touch each other; the original code does one at a
        time.

    Example:
        The second box shares half of its union with the first: exp(-(1/2)² / (1/2)) = 0.6065.

        >>> boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 4.0], [9.0, 0.0, 12.0, 4.0]])
        >>> soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]))
        tensor([0.9000, 0.4852, 0.7000])
    """
    check_option("soft_nms", "method", method, ("linear", "gaussian"))
    check_positive("soft_nms", "sigma", sigma)
    check_positive("soft_nms", "score_threshold", score_threshold, or_zero=True)
    if max_detections is not None:
        check_positive("soft_nms", "max_detections", max_detections)
    shape, count = scores.shape, scores.shape[-1]
    boxes, scores, labels = flat_inputs("soft_nms", boxes, scores, labels)
    left = usable_boxes(boxes, scores, score_threshold)
    taken = torch.zeros_like(scores)
    for _ in range(count if max_detections is None else min(count, max_detections)):
        if scores.device.type == "cpu" and use_fast_path() and not bool(left.any()):
            break
        best_score, best = torch.where(left, scores, -torch.inf).max(1, keepdim=True)  # the first one of equals
        found = left.gather(1, best)
        taken = taken.scatter(1, best, torch.where(found, best_score, taken.gather(1, best)))
        overlap = box_iou(boxes.gather(1, best[..., None].expand(-1, -1, 4)), boxes)
        if method == "gaussian":
            factor = torch.exp(-overlap.square() / sigma)
        else:
            factor = torch.where(overlap > threshold, 1 - overlap, 1.0)
        touched = found & (labels == labels.gather(1, best))
        scores = torch.where(touched, scores * factor, scores)
        left = left.scatter(1, best, False) & (scores > score_threshold)
    return taken.reshape(shape)

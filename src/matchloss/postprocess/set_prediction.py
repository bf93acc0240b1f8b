"""Detections of a model that predicts a set: :func:`decode_set_prediction`."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from .._core import check_float, check_option, check_positive, to_compute
from ..geometry import clip_boxes, cxcywh_to_xyxy
from ..types import Detections

CALLER = "decode_set_prediction"


@torch.no_grad()
def decode_set_prediction(
    outputs: Mapping[str, Any],
    *,
    image_size: tuple[int, int] | Tensor,
    activation: Literal["softmax", "sigmoid"] = "softmax",
    max_detections: int = 100,
    score_threshold: float = 0.0,
) -> Detections:
    """Turn the outputs that :class:`~matchloss.criteria.SetCriterion` trains into detections.

        softmax: score(q) = max_c p(q, c), the no-object class left out;   sigmoid: score(q, c) = p(q, c)

    Each object has one query, so nothing is suppressed. With softmax a query is one detection, of its best class (DETR,
    YOLOS); with sigmoids it may be several, and the best pairs of query and class are kept (Deformable DETR, RT-DETR).

    Shapes:
        outputs: a mapping with "logits" (B, Q, C + 1) for softmax, the last being no object, or (B, Q, C) for sigmoid,
            and "pred_boxes" (B, Q, 4) cxcywh in fractions of the image; other keys are left alone.
        returns: Detections, boxes (B, K, 4) xyxy in pixels, K at most `max_detections`.

    Args:
        image_size: (H, W) of all images, or a tensor (B, 2) with that of each; boxes are cut at the border.
        activation: "softmax" or "sigmoid".
        max_detections: how many of an image are kept, the best first; equal scores may come in any order.
        score_threshold: detections must score more than this.

    Raises:
        ValueError: a missing key, shapes that do not fit, an unknown activation, a number that is not positive.

    Reference:
        Carion et al. 2020, DETR, arXiv:2005.12872, section 4; Zhu et al. 2021, Deformable DETR, arXiv:2010.04159.

    Differs:
        transformers keeps all queries for DETR and YOLOS, 100 pairs for Deformable DETR, and as many pairs as there are
        queries for RT-DETR; its boxes may reach over the border. A query with a logit or coordinate that is not finite
        is no detection here.

    Example:
        Of two queries the second is sure that there is nothing.

        >>> outputs = {
        ...     "logits": torch.tensor([[[0.0, 2.0, 0.0], [0.0, 0.0, 9.0]]]),
        ...     "pred_boxes": torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.5, 0.5, 1.0, 1.0]]]),
        ... }
        >>> found = decode_set_prediction(outputs, image_size=(100, 200), score_threshold=0.1)
        >>> found.boxes[found.valid].round(), found.labels[found.valid], found.scores[found.valid]
        (tensor([[ 80.,  30., 120.,  70.]]), tensor([1]), tensor([0.7870]))
    """
    check_option(CALLER, "activation", activation, ("softmax", "sigmoid"))
    check_positive(CALLER, "max_detections", max_detections)
    logits, boxes = _read(outputs, activation)
    corners = _to_pixels(cxcywh_to_xyxy(boxes), image_size)
    usable = logits.isfinite().all(-1) & boxes.isfinite().all(-1)
    if activation == "softmax":
        best, labels = logits.softmax(-1)[..., :-1].max(-1)
        scores, order = _rank(best, usable, max_detections)
        labels = labels.gather(1, order)
    else:
        classes = logits.shape[-1]
        pairs = logits.sigmoid().flatten(1)
        scores, order = _rank(pairs, usable.repeat_interleave(classes, dim=1), max_detections)
        labels, order = order % classes, order // classes
    valid = scores > max(score_threshold, 0.0)
    corners = corners.gather(1, order.unsqueeze(-1).expand(-1, -1, 4))
    return Detections(
        torch.where(valid.unsqueeze(-1), corners, 0.0),
        torch.where(valid, scores, 0.0),
        torch.where(valid, labels, -1),
        valid,
    )


def _read(outputs: Mapping[str, Any], activation: str) -> tuple[Tensor, Tensor]:
    for name in ("logits", "pred_boxes"):
        if name not in outputs:
            raise ValueError(f"{CALLER}: expected outputs with {name!r}, got {sorted(outputs)}")
        check_float(CALLER, name, outputs[name])
    logits, boxes = to_compute(outputs["logits"]), to_compute(outputs["pred_boxes"])
    least = 2 if activation == "softmax" else 1
    if logits.ndim != 3 or boxes.shape != (*logits.shape[:2], 4) or logits.shape[2] < least:
        wanted = f"logits (B, Q, C) with C >= {least} for {activation}, and pred_boxes (B, Q, 4)"
        raise ValueError(f"{CALLER}: expected {wanted}, got {tuple(logits.shape)} and {tuple(boxes.shape)}")
    return logits, boxes


def _to_pixels(corners: Tensor, image_size: tuple[int, int] | Tensor) -> Tensor:
    """Fractions ``(B, Q, 4)`` to pixels, cut at the border."""
    if isinstance(image_size, Tensor):
        if image_size.shape != (len(corners), 2):
            raise ValueError(f"{CALLER}: expected image_size ({len(corners)}, 2), got {tuple(image_size.shape)}")
        height, width = image_size.to(corners).unbind(1)
        return corners.clamp(0, 1) * torch.stack([width, height, width, height], dim=1).unsqueeze(1)
    height_of_all, width_of_all = image_size
    x1, y1, x2, y2 = corners.unbind(-1)
    # Number by number: a tensor of them would be a copy to the GPU, for which the host may wait.
    pixels = [x1 * width_of_all, y1 * height_of_all, x2 * width_of_all, y2 * height_of_all]
    return clip_boxes(torch.stack(pixels, dim=-1), image_size)


def _rank(scores: Tensor, usable: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The best ones of each image and their places; -1 for what is not usable, which comes last."""
    ranked = torch.where(usable, scores, -1.0)
    best, order = ranked.topk(min(most, ranked.shape[1]), dim=1)
    return best, order

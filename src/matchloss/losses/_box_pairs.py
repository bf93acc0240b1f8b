"""How every box loss reads boxes and their targets."""

from typing import NamedTuple

from torch import Tensor

from .._core import check_float, check_mask, check_same_shape, expand_to, keep_valid
from ..geometry import BoxPair, compare_boxes


class BoxInputs(NamedTuple):
    """Boxes beside their targets; everything has one value a box."""

    pair: BoxPair
    valid: Tensor | None
    weights: Tensor | None


class CheckedBoxes(NamedTuple):
    """Boxes and targets of one shape, zero where masked out; the others have one value a box."""

    boxes: Tensor
    target_boxes: Tensor
    valid: Tensor | None
    weights: Tensor | None


def read_boxes(
    caller: str, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None = None, weights: Tensor | None = None
) -> BoxInputs:
    """Check xyxy boxes of one shape ``(..., 4)`` and compare them, masked ones apart."""
    boxes, target_boxes, valid, weights = check_boxes(caller, boxes, target_boxes, mask=mask, weights=weights)
    return BoxInputs(compare_boxes(boxes, target_boxes), valid, weights)


def check_boxes(
    caller: str, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None, weights: Tensor | None
) -> CheckedBoxes:
    """Check xyxy boxes of one shape ``(..., 4)``, and put 0 where they are masked out."""
    check_float(caller, "boxes", boxes)
    check_same_shape(caller, {"boxes": boxes, "target_boxes": target_boxes})
    if boxes.ndim == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"{caller}: expected boxes of shape (..., 4), xyxy, got {tuple(boxes.shape)}")
    check_mask(caller, mask)
    one_a_box = boxes[..., 0]
    if weights is not None:
        weights = expand_to(caller, "weights", weights, one_a_box)
    if mask is None:
        return CheckedBoxes(boxes, target_boxes, None, weights)
    valid = expand_to(caller, "mask", mask, one_a_box)
    kept = valid.unsqueeze(-1)
    return CheckedBoxes(keep_valid(boxes, kept), keep_valid(target_boxes, kept), valid, weights)

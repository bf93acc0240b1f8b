"""The measures of two boxes that are losses by themselves: the plain form, or on the CPU one pass of a kernel."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .._core import has_numba, to_compute, use_fast_path
from ..geometry import compare_boxes
from ..geometry.overlaps import pair_ciou, pair_diou, pair_eiou, pair_giou, pair_iou
from ._box_pairs import check_boxes

Measure = Literal["iou", "giou", "diou", "eiou", "ciou"]
PLAIN = {"iou": pair_iou, "giou": pair_giou, "diou": pair_diou, "eiou": pair_eiou, "ciou": pair_ciou}


class MeasuredBoxes(NamedTuple):
    """Everything has one value a box."""

    value: Tensor
    valid: Tensor | None
    weights: Tensor | None


def measure_boxes(
    caller: str, measure: Measure, boxes: Tensor, target_boxes: Tensor, *, mask: Tensor | None, weights: Tensor | None
) -> MeasuredBoxes:
    """Check xyxy boxes of one shape ``(..., 4)`` and measure how well they agree, masked ones apart."""
    boxes, target_boxes, valid, weights = check_boxes(caller, boxes, target_boxes, mask=mask, weights=weights)
    if can_take_pairs(boxes, target_boxes):
        value: Tensor = _BoxMeasure.apply(to_compute(boxes), target_boxes.float(), measure)  # type: ignore[no-untyped-call]
        return MeasuredBoxes(value, valid, weights)
    return MeasuredBoxes(PLAIN[measure](compare_boxes(boxes, target_boxes)), valid, weights)


def can_take_pairs(boxes: Tensor, target_boxes: Tensor) -> bool:
    """Whether the kernel may be used: it has no gradient in the targets."""
    if not use_fast_path() or target_boxes.requires_grad or not has_numba():
        return False
    return boxes.device.type == target_boxes.device.type == "cpu" and boxes.dtype != torch.float64


class _BoxMeasure(torch.autograd.Function):
    """The gradient is made beside the value, and is all that is kept; autograd would keep some thirty tensors."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, target_boxes: Tensor, measure: Measure) -> Tensor:
        from ..kernels.box_measures_cpu import measure_pairs

        ctx.measure = measure
        values, slopes = measure_pairs(measure, boxes.reshape(-1, 4), target_boxes.reshape(-1, 4))
        ctx.save_for_backward(boxes, target_boxes, slopes.view(boxes.shape))
        return values.view(boxes.shape[:-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        boxes, target_boxes, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            value = PLAIN[ctx.measure](compare_boxes(boxes, target_boxes))
            (grad,) = torch.autograd.grad(value, boxes, grad, create_graph=True)
            return grad, None, None
        return slopes * grad.unsqueeze(-1), None, None

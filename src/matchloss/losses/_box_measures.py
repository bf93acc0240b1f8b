"""The measures of two boxes that are losses by themselves: the plain form, or one pass of a kernel."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .._core import has_numba, to_compute, use_fast_path, use_triton
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
    if use_triton(boxes) and not target_boxes.requires_grad:  # the kernels have no gradient in the targets
        return MeasuredBoxes(box_measure(boxes, target_boxes, measure)[0], valid, weights)
    if can_take_pairs(boxes, target_boxes):
        value: Tensor = _BoxMeasure.apply(to_compute(boxes), target_boxes.float(), measure)  # type: ignore[no-untyped-call]
        return MeasuredBoxes(value, valid, weights)
    return MeasuredBoxes(PLAIN[measure](compare_boxes(boxes, target_boxes)), valid, weights)


def can_take_pairs(boxes: Tensor, target_boxes: Tensor) -> bool:
    """Whether the kernel for the CPU may be used."""
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


@torch.library.custom_op("matchloss::box_measure", mutates_args=())
def box_measure(boxes: Tensor, target_boxes: Tensor, measure: str) -> tuple[Tensor, Tensor]:
    """On a GPU: measure boxes ``(..., 4)``; the slopes ``(..., 4)`` in them are for the backward alone."""
    from ..kernels.box_measures_cuda import measure_pairs

    values, slopes = measure_pairs(measure, boxes.reshape(-1, 4), target_boxes.reshape(-1, 4))
    return values.view(boxes.shape[:-1]), slopes.view(boxes.shape)


@box_measure.register_fake
def _(boxes: Tensor, target_boxes: Tensor, measure: str) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(boxes.shape[:-1], dtype=torch.float32), boxes.new_empty(boxes.shape, dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, Measure], output: tuple[Tensor, Tensor]) -> None:
    boxes, target_boxes, ctx.measure = inputs
    ctx.save_for_backward(boxes, target_boxes, output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
    boxes, target_boxes, slopes = ctx.saved_tensors
    if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
        value = PLAIN[ctx.measure](compare_boxes(boxes, target_boxes))
        (grad,) = torch.autograd.grad(value, boxes, grad, create_graph=True)
        return grad, None, None
    return (slopes * grad.unsqueeze(-1)).to(boxes.dtype), None, None


box_measure.register_autograd(_differentiate, setup_context=_keep)

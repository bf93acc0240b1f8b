"""The Bhattacharyya distance of rotated boxes: the plain form, or one pass of a kernel."""

from typing import Any

import torch
from torch import Tensor

from ..geometry import bhattacharyya_distance
from ._box_measures import can_take_pairs


def measure_distance(boxes: Tensor, target_boxes: Tensor) -> Tensor:
    """``(...)`` distances of rotated boxes ``(..., 5)`` of one shape, in float32 or float64."""
    if not can_take_pairs(boxes, target_boxes):
        return bhattacharyya_distance(boxes, target_boxes)
    distance: Tensor = _Bhattacharyya.apply(boxes, target_boxes)  # type: ignore[no-untyped-call]
    return distance


class _Bhattacharyya(torch.autograd.Function):
    """The gradient is made beside the value, and is all that is kept; autograd would keep some fifty tensors."""

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, target_boxes: Tensor) -> Tensor:
        from ..kernels.bhattacharyya_cpu import measure_pairs

        values, slopes = measure_pairs(boxes.reshape(-1, 5), target_boxes.reshape(-1, 5))
        ctx.save_for_backward(boxes, target_boxes, slopes)
        return values.view(boxes.shape[:-1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        from ..kernels.bhattacharyya_cpu import lead_back

        boxes, target_boxes, slopes = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: somebody differentiates twice
            value = bhattacharyya_distance(boxes, target_boxes)
            (grad,) = torch.autograd.grad(value, boxes, grad, create_graph=True)
            return grad, None
        return lead_back(slopes, grad.reshape(-1)).view(boxes.shape), None

"""What it costs to match on a GPU, as an operator that a compiler calls without looking inside."""

import torch
from torch import Tensor

from ._queries import Queries


def total_costs(queries: Queries, weights: list[float], focal: list[float] | None) -> Tensor:
    """``(..., B, M, Q)`` sums weighted for class, L1 and GIoU; a focal cost has an alpha and a gamma."""
    total: Tensor = matching_cost(*queries[:5], weights, focal)
    return total


@torch.library.custom_op("matchloss::matching_cost", mutates_args=())
def matching_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    target_boxes: Tensor,
    usable: Tensor,
    weights: list[float],
    focal: list[float] | None,
) -> Tensor:
    """See the kernel."""
    from ..kernels.matching_cost_cuda import total_costs

    class_weight, l1_weight, giou_weight = weights
    return total_costs(
        logits,
        boxes,
        (labels, target_boxes, usable),
        weights=(class_weight, l1_weight, giou_weight),
        focal=None if focal is None else (focal[0], focal[1]),
    )


@matching_cost.register_fake
def _(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    target_boxes: Tensor,
    usable: Tensor,
    weights: list[float],
    focal: list[float] | None,
) -> Tensor:
    return logits.new_empty((*logits.shape[:-2], labels.shape[1], logits.shape[-2]))

"""Calls whose traffic is held: forward and backward of small tensors, whose shape and content are always the same."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from inputs import generator
from matchloss import losses
from matchloss.criteria import SegmentationCriterion
from traffic import traffic_of


class Call(NamedTuple):
    """Something to run, and the tensor by whose size its traffic is told."""

    run: Callable[[], None]
    leaf: Tensor


def calls(device: str) -> dict[str, Call]:
    """By name."""
    rng = generator(0)
    rows = torch.randn(8, 840, 80, generator=rng)
    row_labels = torch.randint(-1, 80, (8, 840), generator=rng).to(device)
    dense = (row_labels.unsqueeze(-1) == torch.arange(80, device=device)).float()
    maps, map_labels = torch.randn(2, 19, 64, 64, generator=rng), torch.randint(0, 19, (2, 64, 64), generator=rng)
    low, size = torch.rand(2, 2, 2000, 2, generator=rng)
    boxes, other_boxes = torch.cat([low, low + size], -1)
    rows, maps, boxes = (values.to(device).requires_grad_() for values in (rows, maps, boxes))
    map_labels, other_boxes = map_labels.to(device), other_boxes.to(device)
    criterion = SegmentationCriterion({"cross_entropy": 1.0, "dice": 1.0}).to(device)
    return {
        "focal of labels": _call(lambda: losses.sigmoid_focal_loss(rows, row_labels), rows),
        "focal of dense targets": _call(lambda: losses.sigmoid_focal_loss(rows, dense), rows),
        "cross entropy and Dice": _call(lambda: criterion(maps, map_labels).total, maps),
        "Dice": _call(lambda: losses.softmax_dice_loss(maps, map_labels), maps),
        "Lovász": _call(lambda: losses.lovasz_softmax_loss(maps, map_labels), maps),
        "GIoU": _call(lambda: losses.giou_loss(boxes, other_boxes), boxes),
        "CIoU": _call(lambda: losses.ciou_loss(boxes, other_boxes), boxes),
    }


def _call(loss: Callable[[], Tensor], leaf: Tensor) -> Call:
    def run() -> None:
        leaf.grad = None
        loss().backward()

    return Call(run, leaf)


def assert_within(call: Call, operators: int, units: float) -> None:
    """At most so many operators, and bytes as multiples of the leaf's."""
    found = traffic_of(call.run)
    told = f"{found.operators} operators, {found.units(call.leaf):.2f} units: {found.by_operator}"
    assert found.operators <= operators, told
    assert found.units(call.leaf) <= units, told

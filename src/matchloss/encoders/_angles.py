"""Which of the descriptions of one rectangle a head is to learn."""

import math
from typing import Literal

import torch
from torch import Tensor

AngleRule = Literal["reading", "folded"]


def turn_boxes(boxes: Tensor, rule: AngleRule) -> Tensor:
    """Rotated boxes ``(..., 5)`` of the same rectangles, with angles that the rule allows.

    "reading" turns by half a turn, into (-90, 90] degrees clockwise, which keeps the width along the line of text;
    "folded" by quarters, into [-45, 45).
    """
    center, sides, angle = boxes[..., :2], boxes[..., 2:4], boxes[..., 4]
    if rule == "reading":
        turns = torch.ceil((angle - math.pi / 2) / math.pi)
        return torch.cat([center, sides, (angle - turns * math.pi)[..., None]], -1)
    turns = torch.floor((angle + math.pi / 4) / (math.pi / 2))
    sides = torch.where(torch.remainder(turns, 2)[..., None] == 1, sides.flip(-1), sides)
    return torch.cat([center, sides, (angle - turns * (math.pi / 2))[..., None]], -1)

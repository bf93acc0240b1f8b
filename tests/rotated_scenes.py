"""Small scenes of turned boxes: what a model says about two images with objects, a crowd, and about an empty one."""

import math

import numpy as np
import torch
from torch import Tensor

from inputs import generator
from matchloss.types import Targets
from reference import rotated_losses as slow

CLASSES, QUERIES = 3, 7
SIZE = (100, 240)
"""Of the images: fractions of their height and of their width are different lengths."""

NOTHING = {"boxes": torch.zeros(0, 5, dtype=torch.float64), "labels": torch.zeros(0, dtype=torch.long)}
CROWD = [150.0, 50.0, 120.0, 12.0, -0.6]


def image(boxes: list[list[float]], labels: list[int], **fields: list[float]) -> dict[str, Tensor]:
    found = {"boxes": torch.tensor(boxes, dtype=torch.float64), "labels": torch.tensor(labels)}
    return found | {name: torch.tensor(values) for name, values in fields.items()}


TWO = image([[60.0, 40.0, 80.0, 14.0, 0.5], [150.0, 55.0, 30.0, 50.0, -1.1]], [1, 2], weights=[0.5, 2.0])
CROWDED = image([[50.0, 30.0, 40.0, 20.0, 2.2], CROWD, [200.0, 20.0, 25.0, 30.0, 0.2]], [0, 1, 2], iscrowd=[0, 1, 0])


def targets(annotations=(TWO, CROWDED, NOTHING), *, size=SIZE) -> Targets:
    """In pixels."""
    return Targets.from_list(list(annotations), box_format="cxcywha", image_size=size)


def in_fractions(boxes: Tensor, size=SIZE) -> Tensor:
    height, width = size
    return boxes / torch.tensor([width, height, width, height, 1.0], dtype=boxes.dtype)


def predictions(channels: int, *, seed: int = 0, turned: bool = True) -> tuple[Tensor, Tensor]:
    """Logits, and boxes in fractions, some of them near objects."""
    rng = generator(seed)
    logits = torch.randn(3, QUERIES, channels, generator=rng, dtype=torch.float64)
    spread = torch.tensor([220.0, 80.0, 60.0, 30.0, 6.0], dtype=torch.float64)
    boxes = spread * torch.rand(3, QUERIES, 5, generator=rng, dtype=torch.float64)
    boxes = boxes + torch.tensor([10.0, 10.0, 10.0, 8.0, -3.0], dtype=torch.float64)
    boxes[0, 4:6] = TWO["boxes"].flip(0) + torch.tensor([3.0, -2.0, 5.0, 1.0, 0.1], dtype=torch.float64)
    boxes[1, 2] = CROWDED["boxes"][2] + torch.tensor([-4.0, 2.0, 1.0, 3.0, math.pi - 0.2], dtype=torch.float64)
    if not turned:
        boxes[..., 4] = 0
    return logits, in_fractions(boxes)


def upright(found: Targets) -> Targets:
    """The same with all angles 0."""
    return found._replace(boxes=found.boxes * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=found.boxes.dtype))


def without_angles(found: Targets) -> Targets:
    """The same boxes, as four numbers."""
    corners = found.boxes[..., :2] - found.boxes[..., 2:4] / 2
    return found._replace(boxes=torch.cat([corners, corners + found.boxes[..., 2:4]], -1), box_format="xyxy")


OVERLAPS = {
    "iou": slow.rotated_iou,
    "probiou": lambda box, target: 1 - math.sqrt(1 - math.exp(-slow.bhattacharyya(box, target))),
    "kld": lambda box, target: 1 / (1 + math.log1p(slow.kl_divergence(box, target))),
}


def l1(box: np.ndarray, target: np.ndarray) -> float:
    """Of boxes in fractions, angles by half turns."""
    turn = abs(box[4] - target[4]) % math.pi
    return float(np.abs(box[:4] - target[:4]).sum()) + min(turn, math.pi - turn) / math.pi

"""A slice of box losses: a box that is moved past its target, and one whose width is wrong."""

from collections.abc import Callable

import torch
from torch import Tensor

from .panels import Curves, Line, Loss, Panel

WIDTH, HEIGHT = 24.0, 12.0
"""Of the target: twice as wide as high, since some losses look at the shape; in pixels, since one wants a unit."""
POINTS = 300
STEEP = 6.0
"""Logarithms rise to slopes beside which all others would be flat."""


def over_boxes(curves: Curves, baseline: tuple[str, Loss]) -> list[Panel]:
    """Loss and pull over the distance of a box of the right size, then the loss over the width of a centred one."""
    # Middles of steps: none lies on the kink where the boxes begin to touch.
    distance = (torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS * 2
    width = torch.logspace(-1, 1, POINTS, dtype=torch.float64)
    moved: list[Line] = []
    pulls: list[Line] = []
    sized: list[Line] = []
    for label, loss in (curves | {baseline[0]: baseline[1]}).items():
        dashed = label == baseline[0]
        values, pull = _measure(loss, _moved, distance)
        moved.append(Line(label, distance, values, dashed))
        pulls.append(Line(label, distance, pull.abs(), dashed))
        sized.append(Line(label, width, _measure(loss, _sized, width)[0], dashed))
    steepest = max(line.y.max().item() for line in pulls)
    across = "distance / width of the target"
    return [
        Panel("loss of a box moved aside", across, moved),
        Panel("its pull on the box", across, pulls, ylim=(-0.03 * STEEP, STEEP) if steepest > STEEP else None),
        Panel("loss of a wrong width", "width / width of the target", sized, xscale="log"),
    ]


def _moved(distance: Tensor) -> Tensor:
    low = torch.zeros_like(distance)
    return torch.stack([distance * WIDTH, low, (distance + 1) * WIDTH, low + HEIGHT], dim=-1)


def _sized(width: Tensor) -> Tensor:
    low = torch.zeros_like(width)
    return torch.stack([(1 - width) / 2 * WIDTH, low, (1 + width) / 2 * WIDTH, low + HEIGHT], dim=-1)


def _measure(loss: Loss, made: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each box, and its derivative by what the boxes are made of."""
    at = at.detach().requires_grad_()
    boxes = made(at)
    target = torch.tensor([0.0, 0.0, WIDTH, HEIGHT], dtype=torch.float64)
    values = loss(boxes, target.expand_as(boxes), reduction="none")
    (grad,) = torch.autograd.grad(values.sum(), at)
    return values.detach(), grad

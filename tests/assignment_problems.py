"""Costs of linear assignments: random ones, equal ones, and those of boxes."""

import torch
from torch import Tensor

from inputs import generator

KINDS = ("random", "ties", "constant", "boxes")


def problems(kind: str, count: int, rows: int, columns: int, seed: int) -> Tensor:
    rng = generator(seed)
    if kind == "ties":
        return torch.randint(-2, 3, (count, rows, columns), generator=rng).float()
    if kind == "constant":
        return torch.full((count, rows, columns), -1.25)
    if kind == "random":
        return torch.randn(count, rows, columns, generator=rng)
    targets = torch.rand(count, rows, 4, generator=rng)
    near = torch.randint(0, rows, (count, columns, 1), generator=rng).expand(-1, -1, 4)
    boxes = targets.gather(1, near) + 0.15 * torch.randn(count, columns, 4, generator=rng)
    return 5 * (targets[:, :, None] - boxes[:, None]).abs().sum(-1) - 2 * torch.rand(count, 1, columns, generator=rng)


def all_rows(cost: Tensor) -> Tensor:
    return torch.ones(cost.shape[:2], dtype=torch.bool)

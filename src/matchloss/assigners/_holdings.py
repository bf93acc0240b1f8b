"""What happens to the points that targets hold: fewer, more, and their soft scores."""

import torch
from torch import Tensor

from ._aligned_pairs import Pairs, pairs_of_owners, pairs_of_rows
from ._box_kinds import centers
from ._candidates import largest
from ._rules import TaskAlignedRules
from ._scene import Scene


def rank_in_target(owner: Tensor, metric: Tensor) -> Tensor:
    """Place of each point among those of its target by metric, from 0; of equal ones the lowest point first."""
    by_metric = metric.argsort(dim=1, descending=True, stable=True)
    order = by_metric.gather(1, owner.gather(1, by_metric).argsort(dim=1, stable=True))
    grouped = owner.gather(1, order).contiguous()
    place = torch.arange(owner.shape[1], device=owner.device).expand_as(owner)
    return torch.zeros_like(owner).scatter(1, order, place - torch.searchsorted(grouped, grouped))


def revise_holdings(rules: TaskAlignedRules, scene: Scene, owner: Tensor) -> Tensor:
    """After the conflicts: fewer points, or more of them."""
    if rules.second_topk is not None:
        owner = keep_best(owner, pairs_of_owners(rules, scene, owner).metric, rules.second_topk)
    if rules.min_points is not None:
        owner = give_points(rules, scene, owner, pairs_of_owners(rules, scene, owner).metric, rules.min_points)
    return owner


def keep_best(owner: Tensor, metric: Tensor, count: int) -> Tensor:
    """Let each target keep its best points, so many at most."""
    return torch.where(rank_in_target(owner, metric) < count, owner, -1)


def give_points(rules: TaskAlignedRules, scene: Scene, owner: Tensor, metric: Tensor, count: int) -> Tensor:
    """Give points to every target that holds fewer than ``count``, one target after the other.

    Each takes the nearest points to its centre that are free, or that another target holds beyond its best ``count``;
    so none of them falls below. A point given may lie outside the target; it must be possible.
    """
    free = (owner < 0) | (rank_in_target(owner, metric) >= count)
    count = min(count, owner.shape[1])
    place = torch.arange(count, device=owner.device)
    for row in range(scene.targets.matchable.shape[1]):
        missing = count - (owner == row).sum(1, keepdim=True)
        allowed = free & pairs_of_rows(rules, scene, slice(row, row + 1)).possible.squeeze(1)
        distance = _distance_to_center(scene.points, scene.targets.boxes[:, row : row + 1])
        nearest, is_there = _nearest(torch.where(allowed, distance, torch.inf), count)
        given = is_there & (place < missing)
        owner = owner.scatter(1, nearest, torch.where(given, row, owner.gather(1, nearest)))
        free = free.scatter(1, nearest, free.gather(1, nearest) & ~given)
    return owner


def _distance_to_center(points: Tensor, target: Tensor) -> Tensor:
    (x, y), (center_x, center_y) = points.unbind(-1), centers(target)
    return (x - center_x).square() + (y - center_y).square()


def _nearest(distance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Places of the smallest, in their order, of equal ones the first; and whether they are finite."""
    index = largest(-distance, count).sort(dim=1).values
    near, order = distance.gather(1, index).sort(dim=1, stable=True)
    return index.gather(1, order), near < torch.inf


def soft_scores(owner: Tensor, pairs: Pairs, targets: int, eps: float) -> Tensor:
    """Metric over the target's highest metric, times its highest overlap; 0 for background."""
    held = owner >= 0
    row = torch.where(held, owner, targets)  # one row more, for the background
    nothing = pairs.metric.new_zeros((len(owner), targets + 1))
    highest_metric = nothing.scatter_reduce(1, row, pairs.metric, "amax").gather(1, row)
    highest_overlap = nothing.scatter_reduce(1, row, pairs.overlap, "amax").gather(1, row)
    return torch.where(held, pairs.metric / (highest_metric + eps) * highest_overlap, 0.0)
